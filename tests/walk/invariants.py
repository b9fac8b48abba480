"""What has to be true whatever happens, asked of the database and the servers' outputs alone.

Money M1-M7, idempotency I1-I4, codes K1-K5, loss L1-L2, people N1-N4, operators and log O1-O3.
Each query returns what is wrong: nothing, when all is well.  None of it uses the services' code.
"""

import json
import statistics

import psycopg
from psycopg import sql
from walk.campus import Broken, Campus
from walk.people import Person

from backend.migrations import APP_ROLE

QUERIES: dict[str, str] = {
    "M1: a transfer moves one positive amount between two accounts that exist": """
        SELECT t.id FROM transfers t
          LEFT JOIN accounts d ON d.id = t.debit_account_id
          LEFT JOIN accounts c ON c.id = t.credit_account_id
         WHERE d.id IS NULL OR c.id IS NULL OR d.id = c.id OR t.amount_fen <= 0""",
    "M2: no purse is below zero": "SELECT id FROM accounts WHERE balance_fen < 0",
    "M3: what a purse holds is the sum of its transfers": """
        SELECT a.id, a.balance_fen, coalesce(sum(
               CASE WHEN t.credit_account_id = a.id THEN t.amount_fen ELSE -t.amount_fen END), 0)
          FROM accounts a LEFT JOIN transfers t ON a.id IN (t.debit_account_id, t.credit_account_id)
         WHERE a.balance_fen IS NOT NULL GROUP BY a.id
        HAVING a.balance_fen <> coalesce(sum(
               CASE WHEN t.credit_account_id = a.id THEN t.amount_fen
                    ELSE -t.amount_fen END), 0)""",
    "M4: what goes back of a charge is never more than it": """
        SELECT id FROM charges WHERE reversed_fen > coalesce(amount_fen, 0)
            OR surcharge_reversed_fen > surcharge_fen
        UNION ALL
        SELECT c.id FROM charges c JOIN charge_reversals r ON r.charge_id = c.id
         GROUP BY c.id HAVING sum(r.amount_fen) > max(c.amount_fen)
            OR sum(r.surcharge_fen) > max(c.surcharge_fen)""",
    "M5: every amount is whole fen within the cap of its kind": """
        SELECT id FROM transfers WHERE amount_fen NOT BETWEEN 1 AND 100000000
        UNION ALL SELECT id FROM charges WHERE amount_fen NOT BETWEEN 1 AND 10000000
        UNION ALL SELECT id FROM charges WHERE state = 'approved' AND amount_fen > 50000
        UNION ALL SELECT id FROM top_ups WHERE amount_fen NOT BETWEEN 100 AND 50000
        UNION ALL SELECT id FROM cash_top_ups
            WHERE amount_fen NOT BETWEEN 100 AND 50000 AND arrears_parts IS NULL""",
    "M6: money comes into purses, and leaves them, by known doors only": """
        SELECT t.id, t.kind, d.kind, c.kind FROM transfers t
          JOIN accounts d ON d.id = t.debit_account_id
          JOIN accounts c ON c.id = t.credit_account_id
         WHERE (t.kind, replace(replace(d.kind, 'main_', ''), 'subsidy_p', 'p'),
                        replace(replace(c.kind, 'main_', ''), 'subsidy_p', 'p')) NOT IN (
            ('charge', 'purse', 'merchant'), ('surcharge', 'purse', 'surcharge'),
            ('charge_reversal', 'merchant', 'purse'), ('surcharge_reversal', 'surcharge', 'purse'),
            ('top_up', 'channel', 'purse'), ('subsidy', 'subsidy_fund', 'purse'),
            ('subsidy_withdrawn', 'purse', 'subsidy_fund'),
            ('refund', 'purse', 'refunds_due'), ('closing', 'purse', 'refunds_due'),
            ('refund_returned', 'refunds_due', 'purse'),
            ('refund_sent', 'refunds_due', 'channel'), ('stray_payment', 'channel', 'refunds_due'),
            ('refund_payout', 'refunds_due', 'bank'), ('refund_payout', 'bank', 'refunds_due'),
            ('cash_top_up', 'cash', 'purse'), ('cash_top_up_reversal', 'purse', 'cash'),
            ('cash_handed_in', 'cash', 'bank'), ('cash_handed_in', 'bank', 'cash'),
            ('cash_difference', 'cash', 'cash_difference'),
            ('cash_difference', 'cash_difference', 'cash'), ('card_fee', 'purse', 'card_fees'),
            ('arrears_cash', 'cash', 'arrears'), ('arrears_cash_reversal', 'arrears', 'cash'),
            ('arrears_written_off', 'written_off', 'arrears'))""",
    "M6: what purses hold and the school owes is what came in less what went out": """
        SELECT owed, came FROM (
            SELECT sum(coalesce(a.balance_fen, m.moved)) FILTER (WHERE NOT outside) AS owed,
                   -sum(m.moved) FILTER (WHERE outside) AS came
              FROM (SELECT *, kind IN ('channel', 'bank', 'cash', 'subsidy_fund') AS outside
                      FROM accounts) a
              CROSS JOIN LATERAL (
                    SELECT coalesce(sum(CASE WHEN credit_account_id = a.id THEN amount_fen
                                             ELSE -amount_fen END), 0) AS moved
                      FROM transfers WHERE a.id IN (credit_account_id, debit_account_id)) m) all_of
         WHERE owed <> came""",
    "I1: an approved charge moved its amount once, a declined one nothing, a voided one back": """
        SELECT c.id, c.state FROM charges c LEFT JOIN LATERAL (
               SELECT coalesce(sum(amount_fen) FILTER (WHERE kind = 'charge'), 0) AS price,
                      coalesce(sum(amount_fen) FILTER (WHERE kind = 'surcharge'), 0) AS surcharge
                 FROM transfers WHERE subject_id = c.id) t ON true
         WHERE (c.state = 'approved'
                AND (t.price, t.surcharge) <> (c.amount_fen, c.surcharge_fen))
            OR (c.state = 'declined' AND (t.price > 0 OR t.surcharge > 0))
            OR (c.state = 'voided' AND t.price > 0
                AND (c.reversed_fen, c.surcharge_reversed_fen)
                    <> (c.amount_fen, c.surcharge_fen))""",
    "I1: one order is credited once, one subsidy paid once, one refund taken once": """
        SELECT subject_id FROM transfers
         WHERE kind IN ('top_up', 'subsidy', 'refund', 'card_fee', 'cash_top_up',
                        'cash_top_up_reversal', 'stray_payment')
         GROUP BY kind, subject_id HAVING count(*) > 1""",
    "I4: a charge ends in one of three states, with a reason where it was declined": """
        SELECT id FROM charges WHERE state NOT IN ('approved', 'declined', 'voided')
            OR (state = 'declined') <> (reason IS NOT NULL) AND state <> 'voided'""",
    "K1: a code was decided on once": """
        SELECT decision_id FROM spent_codes GROUP BY decision_id HAVING count(*) > 1
        UNION ALL SELECT c.id FROM charges c
          LEFT JOIN spent_codes s ON s.decision_id = c.id
         WHERE c.state = 'approved' AND s.code_key IS NULL
        UNION ALL SELECT p.id FROM passages p
          LEFT JOIN spent_codes s ON s.decision_id = p.id
         WHERE p.decision = 'allow' AND p.reason IS NULL AND s.code_key IS NULL""",
    "K2: a decision used its code up": """
        SELECT c.id FROM charges c LEFT JOIN spent_codes s ON s.decision_id = c.id
         WHERE c.state = 'declined' AND c.holder_id IS NOT NULL
           AND c.reason NOT IN ('code-spent', 'declined-offline') AND s.code_key IS NULL""",
    "K3: no code was taken a minute after its time, nor long before it": """
        SELECT decision_id FROM spent_codes
         WHERE extract(epoch FROM spent_at) NOT BETWEEN issued_at - 16 AND issued_at + 71""",
    "K4: pay codes pay, gate codes open gates": """
        SELECT s.decision_id FROM spent_codes s JOIN charges c ON c.id = s.decision_id
         WHERE s.scope <> 1
        UNION ALL SELECT s.decision_id FROM spent_codes s JOIN passages p ON p.id = s.decision_id
         WHERE s.scope = 1""",
    "K5: a code was taken while its alias was the card's": """
        SELECT s.decision_id FROM spent_codes s JOIN card_aliases a ON a.alias = s.alias
         WHERE s.spent_at NOT BETWEEN a.given_at AND coalesce(a.retired_at, 'infinity')""",
    # The jobs' days are ahead of the servers' clock; the ids in the log are made by the real one.
    "L1, N3: nobody paid or passed with a card that was not in use": """
        WITH lives AS (
            SELECT card_id, after #>> '{}' AS state, uuid_extract_timestamp(id) AS since,
                   lead(uuid_extract_timestamp(id)) OVER (PARTITION BY card_id
                                                          ORDER BY written_by, id) AS until
              FROM operation_log WHERE action LIKE 'card.%' AND outcome = 'done'
               AND facts ->> 'card' = 'virtual' AND before IS NOT NULL),
        used AS (
            SELECT id, charged_at AS at FROM charges WHERE state <> 'declined'
               AND holder_id IS NOT NULL AND amount_fen IS NOT NULL AND reason IS NULL
            UNION ALL SELECT id, decided_at FROM passages
             WHERE decision = 'allow' AND reason IS NULL)
        SELECT u.id, l.state FROM used u JOIN spent_codes s ON s.decision_id = u.id
          JOIN card_aliases a USING (alias) JOIN lives l USING (card_id)
         WHERE u.at > l.since AND u.at < coalesce(l.until, 'infinity') AND l.state <> 'active'""",
    "N1: one person is one holder, with one live card of each kind": """
        SELECT holder_id::text FROM cards WHERE state NOT IN ('void', 'closed')
         GROUP BY holder_id, kind HAVING count(*) > 1
        UNION ALL SELECT encode(document_index, 'hex') FROM holders
         WHERE document_index IS NOT NULL GROUP BY document_index HAVING count(*) > 1
        UNION ALL SELECT encode(account_index, 'hex') FROM bindings WHERE state <> 'ended'
         GROUP BY account_index HAVING count(*) > 1
        UNION ALL SELECT holder_id::text FROM bindings WHERE state <> 'ended'
         GROUP BY holder_id HAVING count(*) > 1""",
    "N3: a purse follows its virtual card: state and alias are the same": """
        SELECT a.id FROM accounts a JOIN cards c ON c.id = a.card_id
         WHERE a.card_state <> c.state OR a.card_alias <> c.alias""",
    "N3: a closed account has no card that works": """
        SELECT k.holder_id FROM closings k JOIN cards c USING (holder_id)
         WHERE k.state <> 'cancelled' AND c.state NOT IN ('closing', 'closed', 'void')
           AND k.reopened_at IS NULL""",
    "N4: a closed account leaves nothing behind, and nothing of it is missing": """
        SELECT k.holder_id FROM closings k
         WHERE k.state = 'closed' AND k.holder_id NOT IN (SELECT id FROM holders)
        UNION ALL SELECT k.holder_id FROM closings k JOIN (
            SELECT subject_id, sum(amount_fen) AS fen FROM channel_refunds
             WHERE state <> 'returned' GROUP BY subject_id) r ON r.subject_id = k.id
         WHERE r.fen > k.paid_fen""",
    "O1: nobody approved what they made": """
        SELECT id FROM policy_proposals WHERE approved_by = made_by
        UNION ALL SELECT id FROM subsidy_batches WHERE approved_by = made_by
        UNION ALL SELECT id FROM subsidy_withdrawals WHERE approved_by = made_by
        UNION ALL SELECT id FROM payout_batches WHERE approved_by = made_by
        UNION ALL SELECT id FROM refund_payouts WHERE checker_id = maker_id
        UNION ALL SELECT id FROM surcharge_reratings WHERE approved_by = made_by
        UNION ALL SELECT id FROM cash_shifts WHERE ruled_by = cashier_id
        UNION ALL SELECT id FROM cash_reversals WHERE supervisor_id = cashier_id
        UNION ALL SELECT id FROM data_changes WHERE decided_by = made_by AND field <> 'unit'
        UNION ALL SELECT id FROM operator_changes
         WHERE approved_by = made_by OR made_by = operator_id OR approved_by = operator_id""",
    "O2: what was approved is what holds": """
        SELECT p.id FROM policies p JOIN policy_proposals q ON q.id = p.proposal_id
         WHERE q.state <> 'approved' OR NOT q.changes ? p.key OR q.changes -> p.key <> p.value
        UNION ALL SELECT q.id FROM policy_proposals q
         WHERE q.state = 'approved' AND (SELECT count(*) FROM policies p WHERE p.proposal_id = q.id)
             <> (SELECT count(*) FROM jsonb_object_keys(q.changes))
        UNION ALL SELECT b.id FROM subsidy_batches b JOIN subsidy_items i ON i.batch_id = b.id
          LEFT JOIN transfers t ON t.subject_id = i.id AND t.kind = 'subsidy'
         WHERE (i.state IN ('paid', 'withdrawn')) <> (t.id IS NOT NULL)
            OR t.amount_fen <> i.amount_fen
            OR (t.id IS NOT NULL AND b.state NOT IN ('approved', 'paid'))""",
    "O3: whatever changed a card stands in the log, before and after as they were": """
        SELECT c.id FROM cards c WHERE c.state NOT IN ('pending', 'active') AND NOT EXISTS (
            SELECT FROM operation_log l
             WHERE l.card_id = c.id AND l.outcome = 'done' AND l.after #>> '{}' = c.state)
        UNION ALL SELECT a.card_id FROM (
            SELECT card_id, before #>> '{}' AS before,
                   lag(after #>> '{}') OVER (PARTITION BY card_id ORDER BY written_by, id) AS was
              FROM operation_log WHERE outcome = 'done' AND before IS NOT NULL
               AND replace(action, 'card.', '') IN (
                   'activate', 'report_lost', 'restore', 'freeze', 'unfreeze', 'expire', 'extend',
                   'void', 'start_closing', 'cancel_closing', 'close')) a
         WHERE a.was IS NOT NULL AND a.before <> a.was""",
    "O3: every operation under an id stands in the log": """
        SELECT id FROM counter_operations o WHERE before <> after AND NOT EXISTS (
            SELECT FROM operation_log l WHERE l.card_id = o.card_id AND l.outcome = 'done')
        UNION ALL SELECT id FROM replacements r WHERE NOT EXISTS (
            SELECT FROM operation_log l WHERE l.subject_id = r.id AND l.outcome = 'done')
        UNION ALL SELECT id FROM top_ups t WHERE NOT EXISTS (
            SELECT FROM operation_log l WHERE l.subject_id = t.id AND l.outcome = 'done')
        UNION ALL SELECT id FROM holder_refunds t WHERE NOT EXISTS (
            SELECT FROM operation_log l WHERE l.subject_id = t.id AND l.outcome = 'done')
        UNION ALL SELECT id FROM closings t WHERE NOT EXISTS (
            SELECT FROM operation_log l WHERE l.subject_id = t.id AND l.action = 'closing.start')
        UNION ALL SELECT id FROM charge_reversals t WHERE NOT EXISTS (
            SELECT FROM operation_log l WHERE l.subject_id = t.id AND l.outcome = 'done')""",
}
EVIDENCE = ("transfers", "operation_log", "operation_log_seals", "cash_top_ups",
            "counter_operations", "replacements")  # fmt: skip


def check(campus: Campus, people: list[Person]) -> int:
    """See that every invariant holds now; return how many were asked.

    Raises:
        Broken: which does not, and by what.
    """
    for name, query in QUERIES.items():
        found = campus.owner.execute(query.encode()).fetchmany(5)
        if found:
            raise Broken(campus.told(f"{name}: {found}"))
    _purses_are_as_believed(campus, people)
    _channels_agree(campus)
    _graduates_are_closed(campus)
    return len(QUERIES) + 3


def _graduates_are_closed(campus: Campus) -> None:
    """Nobody's account is open three months after graduation, but who was exempted (N3).

    Who became a student with a card that was long over is told first, and has as long as anybody
    between being told and the closing: `closing.remind_days` and `closing.wait_days`.
    """
    open_ = campus.rows(
        "SELECT h.id, h.category, h.valid_until, c.became, b.batches FROM holders h"
        " CROSS JOIN LATERAL (SELECT max(from_day) AS became FROM category_changes c"
        "  WHERE c.holder_id = h.id AND applied_at IS NOT NULL) c"
        " CROSS JOIN LATERAL (SELECT array_agg((b.graduated_on, b.deadline, b.made_by, g.exemption)"
        "  ::text) AS batches FROM graduates g JOIN closing_batches b ON b.id = g.batch_id"
        "  WHERE g.holder_id = h.id) b"
        " WHERE category IN ('student', 'new_student')"
        " AND greatest(valid_until + interval '3 months 1 day', became + 14 + 3) < %s"
        " AND EXISTS (SELECT FROM cards c WHERE c.holder_id = h.id"
        "  AND c.state NOT IN ('closing', 'closed', 'void'))"
        " AND NOT EXISTS (SELECT FROM graduates g WHERE g.holder_id = h.id"
        "  AND g.exemption IS NOT NULL)"
        " AND NOT EXISTS (SELECT FROM closings k WHERE k.holder_id = h.id)",
        campus.day,
    )
    if open_:
        raise Broken(campus.told(f"N3: graduates whose accounts are open: {open_}"))


def _purses_are_as_believed(campus: Campus, people: list[Person]) -> None:
    found = dict(
        campus.rows(
            "SELECT holder_id::text, sum(balance_fen)::bigint FROM accounts"
            " WHERE holder_id IS NOT NULL GROUP BY holder_id"
        )
    )
    believed = {one.id: one.main + one.subsidy for one in people}
    if found != believed:
        off = {id_: (found.get(id_), fen) for id_, fen in believed.items() if found.get(id_) != fen}
        raise Broken(campus.told(f"M3: purses are not what the model says: {off}"))


def _channels_agree(campus: Campus) -> None:
    """What the platforms took is what was credited or goes back (M6, P1), each order once."""
    taken = {
        order["out_trade_no"]: order["amount_fen"]
        for order in campus.college.pages("orders")
        if order["paid_at"]
    }
    entered = dict(
        campus.rows(
            "SELECT replace(coalesce(s.top_up_id, t.subject_id)::text, '-', ''),"
            " sum(t.amount_fen)::bigint FROM transfers t"
            " LEFT JOIN stray_payments s ON s.id = t.subject_id"
            " WHERE t.kind IN ('top_up', 'stray_payment') GROUP BY 1"
        )
    )
    if taken != entered:
        off = {no: (taken.get(no), entered.get(no)) for no in taken.keys() | entered.keys()
               if taken.get(no) != entered.get(no)}  # fmt: skip
        raise Broken(campus.told(f"M6: channels and ledger differ: {off}"))


def check_at_the_end(campus: Campus) -> None:
    """See what need not be asked again and again: evidence, and where ID numbers stand.

    Raises:
        Broken: evidence can be changed (M4, O3), or an ID number stands somewhere (N2).
    """
    url = campus.college.settings.database_url.replace("+psycopg", "")
    with psycopg.connect(url, autocommit=True) as server:
        if server.info.user != APP_ROLE:
            raise Broken("the servers are more than the role that serves")
        for connection in (server, campus.owner):
            for table in EVIDENCE:
                for statement in ("UPDATE {} SET id = id", "DELETE FROM {}", "TRUNCATE {} CASCADE"):
                    _must_be_refused(connection, statement, table)
    _no_id_number_stands(campus)


def _must_be_refused(
    connection: "psycopg.Connection[tuple[object, ...]]", statement: str, table: str
) -> None:
    if table == "operation_log_seals":
        statement = statement.replace("id = id", "number = number")
    try:
        connection.execute(sql.SQL(statement).format(sql.Identifier(table)))
    except psycopg.errors.InsufficientPrivilege:
        return
    raise Broken(f"M4, O3: {statement.format(table)} was done")


def _no_id_number_stands(campus: Campus) -> None:
    wanted = "|".join(campus.documents)
    tables = campus.rows("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    for (table,) in tables:
        query = sql.SQL("SELECT count(*) FROM {} AS r WHERE r::text ~ %s").format(
            sql.Identifier(str(table))
        )
        ((found,),) = campus.owner.execute(query, [wanted]).fetchall()
        if found:
            raise Broken(f"N2: {found} rows of {table} hold an ID number")
    for part in campus.college.webs:
        text = part.log.read_text(errors="replace")
        if any(document in text for document in campus.documents):
            raise Broken(f"N2: an ID number stands in {part.log.name}")
        if "Traceback" in text:
            raise Broken(f"{part.log.name}: {text[text.index('Traceback') :][:2000]}")
    redis = campus.parts.redis
    for key in redis.scan_iter(count=500):
        value = redis.get(key) if redis.type(key) == "string" else json.dumps(str(key))
        if any(document in f"{key} {value}" for document in campus.documents):
            raise Broken("N2: an ID number stands in Redis")


def p99(seconds: list[float]) -> float:
    """Return the time within which 99 of 100 loss reports were acknowledged (L2)."""
    return statistics.quantiles(seconds, n=100)[98] if len(seconds) > 1 else 0.0
