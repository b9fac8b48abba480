-- Code that lives in the database: re-applied whole after every migration, so none of it goes stale.

-- The ledger's only door (分录).  Moves one amount from one account to another: purses change their
-- stored balance, every other account is the sum of its transfers.  A purse never falls below zero:
-- ck_accounts_purse_not_negative.  Callers that move both purses of a holder lock the main one first.
-- It runs with its owner's rights: the role that serves writes neither balances nor transfers itself.
CREATE OR REPLACE FUNCTION post_transfer(
    p_kind text, p_subject_id uuid, p_debit uuid, p_credit uuid, p_amount_fen bigint,
    p_facts jsonb, p_now timestamptz, p_business_date date
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF (SELECT count(*) FROM accounts WHERE id IN (p_debit, p_credit)) <> 2 THEN
        RAISE EXCEPTION 'post_transfer: an account does not exist'
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    UPDATE accounts
       SET balance_fen = balance_fen + CASE id WHEN p_credit THEN p_amount_fen ELSE -p_amount_fen END
     WHERE id IN (p_debit, p_credit) AND balance_fen IS NOT NULL;
    INSERT INTO transfers (id, kind, subject_id, debit_account_id, credit_account_id, amount_fen,
                           facts, posted_at, business_date)
    VALUES (uuidv7(), p_kind, p_subject_id, p_debit, p_credit, p_amount_fen,
            p_facts, p_now, p_business_date);
END $$;

-- A purse is opened empty: what is in it came in by transfers.
CREATE OR REPLACE FUNCTION open_empty() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.balance_fen <> 0 THEN
        RAISE EXCEPTION 'a purse is opened empty' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER open_empty BEFORE INSERT ON accounts
    FOR EACH ROW EXECUTE FUNCTION open_empty();

-- Whether who asks may act as a table's owner does: the role that serves may not, where there is one.
CREATE OR REPLACE FUNCTION acts_as_owner(p_table oid) RETURNS boolean STABLE LANGUAGE sql AS $$
    SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = p_table;
$$;

-- A proposal (提议) comes in undecided; what it says stays, by the grants below.  It is approved or
-- withdrawn once, and withdrawn after its approval only before it takes effect.
CREATE OR REPLACE FUNCTION guard_proposal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF acts_as_owner(TG_RELID)
       OR TG_OP = 'INSERT' AND NEW.state = 'waiting' AND NEW.approved_by IS NULL
       OR TG_OP = 'UPDATE' AND OLD.state = 'waiting'
       OR TG_OP = 'UPDATE' AND OLD.state = 'approved' AND NEW.state = 'withdrawn'
          AND OLD.effective_at > clock_timestamp()
          AND (NEW.approved_by, NEW.approved_at, NEW.effective_at)
            = (OLD.approved_by, OLD.approved_at, OLD.effective_at)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a proposal is decided once' USING ERRCODE = 'insufficient_privilege';
END $$;

-- A rule (规定) comes in by a proposal that two people decided, with its value and its paper, and not
-- in the past; where the proposal ends, what held before comes in again.  It goes while it lies in the
-- future, where no decision names it, by the same proposal withdrawn.  Presets are the owner's.
CREATE OR REPLACE FUNCTION guard_policy() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    proposal record;
BEGIN
    SELECT * INTO proposal FROM policy_proposals
     WHERE id = CASE TG_OP WHEN 'DELETE' THEN OLD.proposal_id ELSE NEW.proposal_id END;
    IF TG_OP = 'DELETE' THEN
        IF acts_as_owner(TG_RELID)
           OR proposal.state = 'withdrawn' AND OLD.valid_from > clock_timestamp()
        THEN
            RETURN OLD;
        END IF;
    ELSIF acts_as_owner(TG_RELID)
       OR proposal.state = 'approved' AND proposal.changes ? NEW.key
          AND NEW.valid_from > clock_timestamp() - interval '5 minutes'
          AND ((NEW.valid_from, NEW.value, NEW.document_number)
             = (proposal.effective_at, proposal.changes -> NEW.key, proposal.document_number)
            OR NEW.valid_from = proposal.valid_until AND EXISTS (
                SELECT FROM policies former
                 WHERE (former.key, former.value, former.document_number, former.valid_until)
                     = (NEW.key, NEW.value, NEW.document_number, proposal.effective_at)))
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'a policy comes and goes by a proposal of two people'
        USING ERRCODE = 'insufficient_privilege';
END $$;

-- The rows of a key follow one another without a gap: whoever may say until when one holds can only
-- say when the next one begins.
CREATE OR REPLACE FUNCTION join_policies() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM (
            SELECT valid_until, lead(valid_from) OVER (ORDER BY valid_from) AS following
              FROM policies WHERE key = CASE TG_OP WHEN 'DELETE' THEN OLD.key ELSE NEW.key END
        ) AS of_key WHERE valid_until IS DISTINCT FROM following
    ) THEN
        RAISE EXCEPTION 'a policy holds until the next one' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;

DO $$
BEGIN
    IF to_regclass('policy_proposals') IS NOT NULL THEN  -- made by a later migration
        CREATE OR REPLACE TRIGGER guard_proposal BEFORE INSERT OR UPDATE ON policy_proposals
            FOR EACH ROW EXECUTE FUNCTION guard_proposal();
        CREATE OR REPLACE TRIGGER guard_policy BEFORE INSERT OR DELETE ON policies
            FOR EACH ROW EXECUTE FUNCTION guard_policy();
        DROP TRIGGER IF EXISTS join_policies ON policies;
        CREATE CONSTRAINT TRIGGER join_policies AFTER INSERT OR UPDATE OR DELETE ON policies
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION join_policies();
    END IF;
END $$;

-- Serialises everything that is said about one caller-made id, before its row exists.
CREATE OR REPLACE FUNCTION lock_id(p_id uuid) RETURNS void LANGUAGE sql AS $$
    SELECT pg_advisory_xact_lock(hashtextextended(p_id::text, 0));
$$;

-- What a card's state says against using it, or NULL.
CREATE OR REPLACE FUNCTION card_refusal(p_state text) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE p_state
        WHEN 'active' THEN NULL
        WHEN 'lost' THEN 'card-lost'
        WHEN 'frozen' THEN 'card-frozen'
        WHEN 'expired' THEN 'card-expired'
        WHEN 'closing' THEN 'account-closed'
        WHEN 'closed' THEN 'account-closed'
        ELSE 'code-stale'
    END;
$$;

-- Kinds of holder that are one where somebody leaves: a new student's card is exchanged, no more.
CREATE OR REPLACE FUNCTION leaves_as(p_category text) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE p_category WHEN 'new_student' THEN 'student' ELSE p_category END;
$$;

-- Until when a holder's cards can be used: through the last day by the roster (有效期), or up to the
-- day on which the holder leaves (离校、离职), whichever comes first.  A change of category (类别变更)
-- that follows without a gap counts, also while the job that applies it has not run; a departure
-- counts that was filed for the category of its day.
CREATE OR REPLACE FUNCTION usable_until(p_holder holders) RETURNS timestamptz
STABLE LANGUAGE plpgsql AS $$
DECLARE
    change record;
BEGIN
    SELECT c.from_day, c.category, c.valid_until INTO change FROM category_changes c
     WHERE c.holder_id = p_holder.id AND c.applied_at IS NULL AND c.withdrawn_at IS NULL
       AND c.from_day <= p_holder.valid_until + 1;
    RETURN least(coalesce(change.valid_until, p_holder.valid_until) + 1, (
        SELECT min(d.effective_on) FROM leavers l JOIN departures d ON d.id = l.departure_id
         WHERE l.holder_id = p_holder.id AND l.state = 'scheduled'
           AND leaves_as(l.category) = leaves_as(
               CASE WHEN change.from_day <= d.effective_on THEN change.category
                    ELSE p_holder.category END)
    ))::timestamp AT TIME ZONE 'Asia/Shanghai';
END $$;

-- Whether an account is closing or closed (销户).  Its closing tells it, or its cards: of an account
-- that was opened again (复户), its old cards do not.
CREATE OR REPLACE FUNCTION is_account_closed(p_holder_id uuid)
RETURNS boolean STABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (SELECT FROM closings WHERE holder_id = p_holder_id
                      AND state <> 'cancelled' AND reopened_at IS NULL)
        OR EXISTS (SELECT FROM cards WHERE holder_id = p_holder_id AND state = 'closing')
        OR EXISTS (SELECT FROM cards WHERE holder_id = p_holder_id AND state = 'closed')
       AND NOT EXISTS (
           SELECT FROM cards WHERE holder_id = p_holder_id AND state NOT IN ('void', 'closed'))
       AND NOT EXISTS (
           SELECT FROM closings WHERE holder_id = p_holder_id AND reopened_at IS NOT NULL);
END $$;

-- The same day so many calendar months later, or the last of a shorter month.
CREATE OR REPLACE FUNCTION months_after(p_day date, p_months int) RETURNS date
IMMUTABLE LANGUAGE sql AS $$
    SELECT (p_day + make_interval(months => p_months))::date;
$$;

-- What keeps a holder's card from being used at a moment, or NULL.  Its time is over at the first
-- instant of the day, also while the job that says so in its state has not run.
CREATE OR REPLACE FUNCTION usage_refusal(p_holder holders, p_state text, p_now timestamptz)
RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN coalesce(
        card_refusal(p_state), CASE WHEN p_now >= usable_until(p_holder) THEN 'card-expired' END);
END $$;

-- Mark a code as decided on.  False when it, or a newer one of the same card and scope, already was.
CREATE OR REPLACE FUNCTION spend_code(
    p_code_key bytea, p_alias bytea, p_scope int, p_issued_at bigint, p_sequence int,
    p_decision_id uuid, p_now timestamptz
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    newer boolean;
BEGIN
    SELECT EXISTS (
        SELECT FROM spent_codes
         WHERE alias = p_alias AND scope = p_scope
           AND (issued_at, sequence) >= (p_issued_at, p_sequence)
    ) INTO newer;
    INSERT INTO spent_codes (code_key, alias, scope, issued_at, sequence, decision_id, spent_at)
    VALUES (p_code_key, p_alias, p_scope, p_issued_at, p_sequence, p_decision_id, p_now)
    ON CONFLICT DO NOTHING;
    RETURN FOUND AND NOT newer;
END $$;

-- The card behind a device code (设备码): the alias that it has now, or why the code is refused.
CREATE OR REPLACE FUNCTION delegated_alias(
    p_serial bigint, p_issued_at bigint, OUT alias bytea, OUT refusal text
) STABLE LANGUAGE plpgsql AS $$
DECLARE
    delegation delegations;
BEGIN
    SELECT * INTO delegation FROM delegations WHERE serial = p_serial;
    IF NOT FOUND OR delegation.revoked_at IS NOT NULL THEN
        refusal := 'code-revoked';
    ELSIF to_timestamp(p_issued_at) <= delegation.codes_from THEN
        refusal := 'code-stale';
    ELSE
        SELECT cards.alias INTO alias FROM cards WHERE id = delegation.card_id;
    END IF;
END $$;

-- Scan and pay (扫码消费): the whole decision in one round trip.
-- Returns the charge as it stands: the stored answer of an earlier call, or the one made now.  The
-- caller knows by the reference whether it was first.  A row whose reason is the code's own fault,
-- 'id-reused', 'charge-voided' or 'not-found' was not stored: the id is still free.
CREATE OR REPLACE FUNCTION post_charge(
    p_id uuid, p_terminal_id uuid, p_merchant_id uuid, p_merchant_account uuid, p_surcharge_account uuid,
    p_place text, p_content_hash bytea, p_amount_fen bigint, p_surcharge_fen bigint, p_note text,
    p_code_fault text, p_code_key bytea, p_alias bytea, p_serial bigint, p_issued_at bigint,
    p_sequence int, p_per_charge_cap_fen bigint, p_per_day_cap_fen bigint, p_policy_ids jsonb,
    p_now timestamptz, p_business_date date, p_reference text
) RETURNS charges LANGUAGE plpgsql AS $$
DECLARE
    scope_pay CONSTANT int := 1;
    answer charges;
    purse accounts;
    holder holders;
    subsidy accounts;
    total bigint;
    today bigint;
    most bigint;
    subsidy_price bigint;
    subsidy_surcharge bigint;
    words jsonb;
BEGIN
    PERFORM lock_id(p_id);
    SELECT * INTO answer FROM charges WHERE id = p_id;
    IF FOUND THEN
        IF answer.terminal_id <> p_terminal_id THEN
            answer.reason := 'not-found';
        ELSIF answer.state = 'voided' THEN
            answer.reason := 'charge-voided';
        ELSIF answer.content_hash <> p_content_hash THEN
            answer.reason := 'id-reused';
        END IF;
        IF answer.reason IN ('not-found', 'charge-voided', 'id-reused') THEN
            answer.facts := '{}';  -- the stored facts tell a balance: they are for a retry alone
        END IF;
        RETURN answer;
    END IF;

    answer.id := p_id;
    answer.terminal_id := p_terminal_id;
    answer.merchant_id := p_merchant_id;
    answer.place := p_place;
    answer.content_hash := p_content_hash;
    answer.state := 'declined';
    answer.facts := '{}';
    answer.amount_fen := p_amount_fen;
    answer.surcharge_fen := 0;
    answer.from_subsidy_fen := 0;
    answer.reversed_fen := 0;
    answer.surcharge_reversed_fen := 0;
    answer.note := p_note;
    answer.policy_ids := p_policy_ids;
    answer.charged_at := p_now;
    answer.business_date := p_business_date;
    answer.reference := p_reference;
    IF p_code_fault IS NOT NULL THEN
        answer.reason := p_code_fault;
        RETURN answer;
    END IF;

    -- Card, state and balance in one locked row: a loss report is before this or after it.
    IF p_serial IS NOT NULL THEN
        SELECT alias, refusal INTO p_alias, answer.reason FROM delegated_alias(p_serial, p_issued_at);
    END IF;
    SELECT * INTO purse FROM accounts WHERE card_alias = p_alias FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        answer.reason := coalesce(answer.reason, 'code-stale');
        INSERT INTO charges VALUES (answer.*);
        RETURN answer;
    END IF;
    SELECT * INTO holder FROM holders WHERE id = purse.holder_id;
    SELECT * INTO subsidy FROM accounts
     WHERE holder_id = purse.holder_id AND kind = 'subsidy_purse' FOR NO KEY UPDATE;
    answer.holder_id := purse.holder_id;
    answer.name_masked := mask_name(holder.name);
    answer.category := holder.category;
    answer.surcharge_fen := CASE WHEN holder.pays_surcharge THEN p_surcharge_fen ELSE 0 END;
    total := p_amount_fen + answer.surcharge_fen;

    IF NOT spend_code(p_code_key, p_alias, scope_pay, p_issued_at, p_sequence, p_id, p_now) THEN
        answer.reason := 'code-spent';
    ELSIF usage_refusal(holder, purse.card_state, p_now) IS NOT NULL THEN
        answer.reason := usage_refusal(holder, purse.card_state, p_now);
    ELSIF 'pay' = ANY (holder.denied) THEN
        answer.reason := 'not-permitted';
        answer.facts := jsonb_build_object('permission', 'pay');
    ELSIF holder.payment_paused THEN
        answer.reason := 'payment-paused';
    ELSE
        most := least(p_per_charge_cap_fen, holder_limit(holder, 'per_charge', p_business_date));
        IF total > most THEN
            answer.reason := 'limit-exceeded';
            answer.facts := jsonb_build_object('limit', 'per_charge', 'limit_fen', most);
        ELSE
            most := least(p_per_day_cap_fen, holder_limit(holder, 'per_day', p_business_date));
            SELECT coalesce(sum(c.amount_fen + c.surcharge_fen - c.reversed_fen - c.surcharge_reversed_fen), 0)
              INTO today
              FROM charges c
             WHERE c.holder_id = purse.holder_id AND c.state = 'approved'
               AND c.charged_at >= p_business_date::timestamp AT TIME ZONE 'Asia/Shanghai';
            IF today + total > most THEN
                answer.reason := 'limit-exceeded';
                answer.facts := jsonb_build_object(
                    'limit', 'per_day', 'limit_fen', most, 'spent_fen', today);
            ELSIF purse.balance_fen + subsidy.balance_fen < total THEN
                answer.reason := 'insufficient-balance';
                answer.facts := jsonb_build_object(
                    'balance_fen', purse.balance_fen + subsidy.balance_fen,
                    'short_fen', total - purse.balance_fen - subsidy.balance_fen);
            END IF;
        END IF;
    END IF;

    IF answer.reason IS NOT NULL THEN
        INSERT INTO charges VALUES (answer.*);
        INSERT INTO holder_notices (id, holder_id, kind, facts, at)
        VALUES (uuidv7(), purse.holder_id, 'charge-declined',
                answer.facts || jsonb_build_object(
                    'charge_id', p_id, 'amount_fen', p_amount_fen, 'reason', answer.reason,
                    'place', p_place, 'reference', p_reference), p_now);
        RETURN answer;
    END IF;

    -- The subsidy is spent first, on the price before the surcharge.
    subsidy_price := least(subsidy.balance_fen, p_amount_fen);
    subsidy_surcharge := least(subsidy.balance_fen - subsidy_price, answer.surcharge_fen);
    words := jsonb_build_object('place', p_place, 'reference', p_reference);
    IF subsidy_price > 0 THEN
        PERFORM post_transfer('charge', p_id, subsidy.id, p_merchant_account,
                              subsidy_price, words, p_now, p_business_date);
    END IF;
    IF p_amount_fen > subsidy_price THEN
        PERFORM post_transfer('charge', p_id, purse.id, p_merchant_account,
                              p_amount_fen - subsidy_price, words, p_now, p_business_date);
    END IF;
    IF subsidy_surcharge > 0 THEN
        PERFORM post_transfer('surcharge', p_id, subsidy.id, p_surcharge_account,
                              subsidy_surcharge, words, p_now, p_business_date);
    END IF;
    IF answer.surcharge_fen > subsidy_surcharge THEN
        PERFORM post_transfer('surcharge', p_id, purse.id, p_surcharge_account,
                              answer.surcharge_fen - subsidy_surcharge, words, p_now, p_business_date);
    END IF;

    answer.state := 'approved';
    answer.from_subsidy_fen := subsidy_price + subsidy_surcharge;
    answer.balance_fen := purse.balance_fen + subsidy.balance_fen - total;
    INSERT INTO charges VALUES (answer.*);
    INSERT INTO holder_notices (id, holder_id, kind, facts, at)
    VALUES (uuidv7(), purse.holder_id, 'charge-approved',
            jsonb_build_object(
                'charge_id', p_id, 'amount_fen', p_amount_fen, 'surcharge_fen', answer.surcharge_fen,
                'total_fen', total, 'balance_fen', answer.balance_fen,
                'place', p_place, 'reference', p_reference), p_now);
    RETURN answer;
END $$;

-- The name as strangers see it: the first character, then stars.
CREATE OR REPLACE FUNCTION mask_name(p_name text) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT left(p_name, 1) || repeat('*', greatest(1, least(length(p_name) - 1, 3)));
$$;

-- A holder's own limit on a day: a raised one holds from the day after it was asked for.
CREATE OR REPLACE FUNCTION holder_limit(p_holder holders, p_which text, p_day date)
RETURNS bigint STABLE LANGUAGE sql AS $$
    SELECT CASE
        WHEN (p_holder.raised_limits ->> 'from')::date <= p_day
        THEN (p_holder.raised_limits ->> (p_which || '_fen'))::bigint
        WHEN p_which = 'per_charge' THEN p_holder.per_charge_limit_fen
        ELSE p_holder.per_day_limit_fen
    END;
$$;

-- A number (学工号) stays with its holder for ever, also once they have another one.  Two people's
-- numbers differ in more than upper and lower case, which nobody tells apart who says them.
CREATE OR REPLACE FUNCTION keep_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND NEW.holder_number = OLD.holder_number THEN
        RETURN NULL;
    END IF;
    INSERT INTO holder_numbers (number, holder_id) VALUES (NEW.holder_number, NEW.id)
    ON CONFLICT (number) DO NOTHING;
    IF EXISTS (
        SELECT FROM holder_numbers
         WHERE folded = upper(NEW.holder_number) AND holder_id <> NEW.id
    ) THEN
        RAISE EXCEPTION 'the holder number is, or was, somebody else''s'
            USING ERRCODE = 'unique_violation', CONSTRAINT = 'pk_holder_numbers';
    END IF;
    RETURN NULL;
END $$;

DO $$
BEGIN
    IF to_regclass('holder_numbers') IS NOT NULL THEN  -- made by a later migration
        DROP TRIGGER IF EXISTS keep_number ON holders;
        CREATE TRIGGER keep_number AFTER INSERT OR UPDATE OF holder_number ON holders
            FOR EACH ROW EXECUTE FUNCTION keep_number();
        ALTER TABLE holders ENABLE ALWAYS TRIGGER keep_number;
    END IF;
END $$;

-- A physical card that is made for a new student is a new-student card (新生卡) for good: it is
-- exchanged, whatever its holder is called by then.
CREATE OR REPLACE FUNCTION note_new_student_card() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.new_student := NEW.kind = 'physical' AND EXISTS (
        SELECT FROM holders WHERE id = NEW.holder_id AND category = 'new_student'
    );
    RETURN NEW;
END $$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM information_schema.columns
                WHERE table_name = 'cards' AND column_name = 'new_student') THEN
        DROP TRIGGER IF EXISTS note_new_student_card ON cards;
        CREATE TRIGGER note_new_student_card BEFORE INSERT ON cards
            FOR EACH ROW EXECUTE FUNCTION note_new_student_card();
        ALTER TABLE cards ENABLE ALWAYS TRIGGER note_new_student_card;
    END IF;
END $$;

-- What goes back of a payment (退款): counted in one row of each payment, whose CHECK refuses more than
-- was paid (P5).  Only a refund's return makes room again.
CREATE OR REPLACE FUNCTION count_refund() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO refunded_payments AS payment (channel, trade_no, paid_fen, refunded_fen, refunds)
        VALUES (NEW.channel, NEW.trade_no, NEW.paid_fen, NEW.amount_fen, 1)
        ON CONFLICT (channel, trade_no) DO UPDATE
           SET refunded_fen = payment.refunded_fen + excluded.refunded_fen,
               refunds = payment.refunds + 1;
    ELSIF TG_OP = 'DELETE' OR OLD.state = 'returned'
          OR (NEW.channel, NEW.trade_no, NEW.amount_fen) <> (OLD.channel, OLD.trade_no, OLD.amount_fen)
    THEN
        RAISE EXCEPTION 'a refund stays what it was' USING ERRCODE = 'check_violation';
    ELSIF NEW.state = 'returned' THEN
        UPDATE refunded_payments SET refunded_fen = refunded_fen - NEW.amount_fen
         WHERE channel = NEW.channel AND trade_no = NEW.trade_no;
    END IF;
    RETURN NEW;
END $$;

DO $$
BEGIN
    IF to_regclass('channel_refunds') IS NOT NULL THEN  -- made by a later migration
        DROP TRIGGER IF EXISTS count_refund ON channel_refunds;
        CREATE TRIGGER count_refund BEFORE INSERT OR DELETE OR UPDATE
            OF state, channel, trade_no, paid_fen, amount_fen ON channel_refunds
            FOR EACH ROW EXECUTE FUNCTION count_refund();
        ALTER TABLE channel_refunds ENABLE ALWAYS TRIGGER count_refund;
    END IF;
END $$;

-- A screening (清查) that is filed stays as it is, and so does every item of it.
CREATE OR REPLACE FUNCTION refuse_filed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    filed timestamptz;
BEGIN
    IF TG_TABLE_NAME = 'screenings' THEN
        filed := OLD.filed_at;
    ELSE
        SELECT filed_at INTO filed FROM screenings WHERE id = OLD.screening_id;
    END IF;
    IF filed IS NOT NULL THEN
        RAISE EXCEPTION 'a filed screening stays as it is' USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['screenings', 'screening_items'] LOOP
        CONTINUE WHEN to_regclass(t) IS NULL;  -- made by a later migration
        EXECUTE format('DROP TRIGGER IF EXISTS refuse_filed ON %I', t);
        EXECUTE format('CREATE TRIGGER refuse_filed BEFORE UPDATE OR DELETE ON %I'
                       ' FOR EACH ROW EXECUTE FUNCTION refuse_filed()', t);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER refuse_filed', t);
    END LOOP;
END $$;

-- An entry of the operation log is one that can be read, whoever writes it: a time that is one, shapes
-- that are what they should be, no number that nobody can hold.  That entries are gone, nobody says but
-- dispose_log, below.
CREATE OR REPLACE FUNCTION check_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.action = 'log.dispose' AND NOT acts_as_owner(TG_RELID) THEN
        RAISE EXCEPTION 'only dispose_log says what is gone' USING ERRCODE = 'insufficient_privilege';
    ELSIF NEW.at NOT BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 00:00:00+00'
       OR jsonb_typeof(NEW.facts) <> 'object'
       OR jsonb_typeof(NEW.documents) <> 'array'
       OR jsonb_typeof(NEW.policy_ids) <> 'array'
       OR concat(NEW.before, NEW.after, NEW.documents, NEW.policy_ids, NEW.facts) ~ '[0-9]{255}'
    THEN
        RAISE EXCEPTION 'nobody could read this entry' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER check_entry BEFORE INSERT ON operation_log
    FOR EACH ROW EXECUTE FUNCTION check_entry();

-- A seal (封存) goes on where the chain ends, and ends below the oldest transaction still running.
-- Whether it says the truth about its entries, a verification tells.
CREATE OR REPLACE FUNCTION chain_seal() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    SELECT * INTO last FROM operation_log_seals ORDER BY number DESC LIMIT 1;
    IF (NEW.number, NEW.since, NEW.previous_head, NEW.total) IS DISTINCT FROM (
        coalesce(last.number, 0) + 1, coalesce(last.until, 0),
        coalesce(last.head, decode(repeat('00', 32), 'hex')), coalesce(last.total, 0) + NEW.entries
    ) OR NEW.until > pg_snapshot_xmin(pg_current_snapshot())::text::bigint
       OR NEW.sealed_at NOT BETWEEN '1970-01-01 00:00:00+00' AND '2999-12-31 00:00:00+00'
       OR length(NEW.head) <> 32
    THEN
        RAISE EXCEPTION 'a seal goes on where the chain ends' USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;

DO $$
BEGIN
    IF to_regclass('operation_log_seals') IS NOT NULL THEN  -- made by a later migration
        CREATE OR REPLACE TRIGGER chain_seal BEFORE INSERT ON operation_log_seals
            FOR EACH ROW EXECUTE FUNCTION chain_seal();
    END IF;
END $$;

-- Rows that are evidence are appended and never changed, not even by their owner.
-- Only dispose_log, below, takes rows out of the operation log.
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'operation_log' AND TG_OP = 'DELETE'
       AND current_setting('campus_card.disposes', true) = pg_current_xact_id()::text
    THEN
        RETURN NULL;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;

DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY[
        'transfers', 'operation_log', 'operation_log_seals', 'resolutions', 'cash_top_ups',
        'cash_reversals', 'counter_operations', 'replacements', 'issue_decisions',
        'application_approvals', 'application_extensions', 'early_leavings', 'reopenings',
        'charge_reversals', 'bill_files', 'holder_numbers'
    ] LOOP
        CONTINUE WHEN to_regclass(t) IS NULL;  -- made by a later migration
        EXECUTE format('DROP TRIGGER IF EXISTS append_only ON %I', t);
        EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON %I'
                       ' FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', t);
        EXECUTE format('ALTER TABLE %I ENABLE ALWAYS TRIGGER append_only', t);
    END LOOP;
END $$;

-- Delete the entries of all seals up to one (台账保存期满销毁); the seals stay, so the chain is whole.
-- Whoever calls it, and whatever a policy says: nothing that was sealed within the last 183 days by
-- the server's own clock goes (网络安全法: six months).  That it went is an entry, of this very moment.
-- Returns how many entries went.
DROP FUNCTION IF EXISTS dispose_log(bigint);  -- of earlier versions
CREATE OR REPLACE FUNCTION dispose_log(p_through bigint, p_policy_ids jsonb, p_before timestamptz)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    gone bigint;
BEGIN
    IF NOT EXISTS (SELECT FROM operation_log_seals WHERE number = p_through) OR EXISTS (
        SELECT FROM operation_log_seals
         WHERE number <= p_through AND sealed_at > clock_timestamp() - interval '183 days'
    ) THEN
        RAISE EXCEPTION 'dispose_log: not sealed, or not for long enough'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    PERFORM set_config('campus_card.disposes', pg_current_xact_id()::text, true);
    DELETE FROM operation_log
     WHERE written_by < (SELECT until FROM operation_log_seals WHERE number = p_through);
    GET DIAGNOSTICS gone = ROW_COUNT;
    PERFORM set_config('campus_card.disposes', '', true);
    INSERT INTO operation_log (id, at, channel, actor, action, outcome, policy_ids, facts)
    SELECT uuidv7(), clock_timestamp(), 'batch', 'system', 'log.dispose', 'done', p_policy_ids,
           jsonb_build_object('through', number, 'head', encode(head, 'hex'),
                              'sealed_before', p_before, 'entries', gone)
      FROM operation_log_seals WHERE number = p_through;
    RETURN gone;
END $$;

-- What the role that serves may do, where the deployment has one: it owns nothing, so it disables no
-- trigger and truncates nothing; what is evidence it appends to.  `written_by` it cannot choose, and
-- so not where in the order of sealing a row of the operation log stands.  Balances and transfers it
-- has from post_transfer; a policy only from an approved proposal, and of one that decisions name it
-- can only say until when it holds, which is when the next one begins.
DO $$
DECLARE
    app CONSTANT text := 'campus_card_app';
    t text;
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = app) THEN
        RETURN;
    END IF;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', current_schema(), app);
    EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO %I', current_schema(), app);
    FOR t IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('REVOKE ALL ON %I FROM %I', t, app);
        EXECUTE format(
            CASE
                WHEN t = 'alembic_version' THEN 'GRANT SELECT ON %I TO %I'
                WHEN t = 'operation_log' THEN format('GRANT SELECT, INSERT (%s) ON %%I TO %%I', (
                    SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
                     WHERE attrelid = to_regclass(quote_ident(t)) AND attnum > 0
                       AND NOT attisdropped AND attname <> 'written_by'))
                WHEN EXISTS (SELECT FROM pg_trigger
                              WHERE tgrelid = to_regclass(quote_ident(t)) AND tgname = 'append_only')
                    THEN 'GRANT SELECT, INSERT ON %I TO %I'
                WHEN t = 'accounts' THEN
                    'GRANT SELECT, INSERT, UPDATE (card_id, card_alias, card_state) ON %I TO %I'
                WHEN t = 'policy_proposals' THEN
                    'GRANT SELECT, INSERT, UPDATE (state, approved_by, approved_at, effective_at,'
                    ' withdrawn_by, withdrawn_at, withdrawn_reason) ON %I TO %I'
                WHEN t = 'policies' THEN
                    'GRANT SELECT, INSERT, UPDATE (valid_until), DELETE ON %I TO %I'
                ELSE 'GRANT SELECT, INSERT, UPDATE, DELETE ON %I TO %I'
            END, t, app);
    END LOOP;
    EXECUTE format('REVOKE INSERT ON transfers FROM %I', app);  -- through post_transfer alone
END $$;

-- Functions that act as the owner look tables up in this schema alone: temporary tables, which
-- anybody may make, come last instead of first.
DO $$
DECLARE
    f regprocedure;
BEGIN
    FOR f IN SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = current_schema()::regnamespace
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', f, current_schema());
    END LOOP;
END $$;
