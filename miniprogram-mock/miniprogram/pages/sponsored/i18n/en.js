// The words of the sponsor's page, loaded with it.
module.exports = {
  sponsored: {
    title: 'People I sponsor',
    intro: 'Where a contract ends before the card does, say so here: the card ends with it.',
    until: 'until {date}',
    leaves: 'leaves after {date}',
    early: 'Leaves early',
    heading: '{name} leaves early',
    effect: 'After the last day the card stops and the account closes; what it holds goes back by the rules.',
    lastOn: 'Last day',
    days: ['Today', 'Tomorrow', 'In a week'],
    reason: 'Reason',
    reasonHint: 'e.g. the contract ended',
    yes: 'Leaves early: confirm',
    told: 'Done; the card centre sees it',
    tooLate: 'The card ends today anyway.',
    empty: ['Nobody at present', 'Temporary people whom you sponsor are listed here.'],
  },
}
