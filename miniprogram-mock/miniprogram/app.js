App({
  /** Called with every event and every newly shown code; a stage around the phone may listen. */
  onPhoneEvent(_message) {},
})
