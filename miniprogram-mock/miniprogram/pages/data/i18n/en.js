// The words of "My data", loaded with the page.
module.exports = {
  data: {
    title: 'My data',
    what: 'A copy of your data',
    text: 'Every record that the system keeps about you. ID numbers are never kept. The file has what you bought and where you were: keep it safe.',
    download: 'Download my data',
    copied: 'Copied: paste it where you keep it',
    kept: 'What is kept',
    rows: '{count} records',
    looked: 'Who looked at my record',
    nobody: 'No member of staff has looked',
    revealed: 'Saw the full name',
    masked: 'Saw masked data only',
    reasons: { present: 'you were there', called: 'you called', reconciliation: 'reconciliation', case: 'an error was settled' },
    groups: { person: 'Who you are', phone: 'Binding and logins', cards: 'Cards and services', money: 'Money', gates: 'Passages', notices: 'Messages', log: 'Operation log', other: 'Other' },
    roles: {
      card_centre: 'Card centre',
      finance: 'Finance',
      logistics: 'Logistics',
      academic: 'Academic affairs',
      student_affairs: 'Student affairs',
      personnel: 'Personnel',
      auditor: 'Auditor',
      system_administrator: 'System administrator',
      none: 'Staff',
    },
  },
}
