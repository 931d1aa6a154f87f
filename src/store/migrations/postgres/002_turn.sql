-- How far each process has come with writing, so that it can ask after a lost connection whether its last
-- transaction was committed. The transaction's number and pg_xact_status() would not do: numbers of transactions
-- that a crash of the database took with it are given out again.
CREATE TABLE turn (
        origin text COLLATE "C" PRIMARY KEY, -- an opening of the store
        number bigint NOT NULL,              -- of its transactions
        at     bigint NOT NULL
) WITH (fillfactor = 50);

DROP FUNCTION store_begin();

-- Takes the turn of writing until the transaction ends, whose number among those of `origin` this is.
CREATE FUNCTION store_begin(origin_ text, number_ bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('cairn'), hashtext(current_schema()));
        UPDATE turn SET number = number_, at = store_now() WHERE origin = origin_;
        IF NOT FOUND THEN
                DELETE FROM turn WHERE at < store_now() - 86400; -- of processes that are gone
                INSERT INTO turn VALUES (origin_, number_, store_now());
        END IF;
END $$;

-- Whether that transaction was committed, once it is over: it holds the turn as long as it is not. Each statement
-- of the function sees what was committed when it began.
CREATE FUNCTION store_committed(origin_ text, number_ bigint) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
        PERFORM pg_advisory_xact_lock(hashtext('cairn'), hashtext(current_schema()));
        RETURN EXISTS (SELECT FROM turn WHERE origin = origin_ AND number = number_);
END $$;
