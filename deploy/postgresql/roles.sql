-- Roles of the admin database, with no more rights than each needs. Run once after the first migration, by the
-- role that owns the tables, and again after an upgrade that adds tables; running it twice changes nothing.
--   psql "$COPS_ADMIN_DB" -f deploy/postgresql/roles.sql
-- Then make login roles of your own: CREATE ROLE cops_dagster LOGIN IN ROLE cops_writer; and so on.
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'cops_reader') THEN
        CREATE ROLE cops_reader NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'cops_writer') THEN
        CREATE ROLE cops_writer NOLOGIN;
    END IF;
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'cops_closer') THEN
        CREATE ROLE cops_closer NOLOGIN;
    END IF;
    -- a writer who may also close: the trigger on period_lock asks for membership. Where the roles were made
    -- before (deploy/compose/databases.sh), an owner that may make none is enough.
    IF NOT pg_has_role('cops_closer', 'cops_writer', 'MEMBER') THEN
        GRANT cops_writer TO cops_closer;
    END IF;
END $$;

REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, cops_reader, cops_writer, cops_closer;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
DO $$
BEGIN
    -- nobody needs tables of their own here; the guards look past them anyway (docs/adr/0035)
    EXECUTE 'REVOKE TEMPORARY ON DATABASE ' || quote_ident(current_database())
        || ' FROM PUBLIC, cops_reader, cops_writer, cops_closer';
END $$;
GRANT USAGE ON SCHEMA public TO cops_reader, cops_writer;

-- reads everything, writes nothing
GRANT SELECT ON ALL TABLES IN SCHEMA public TO cops_reader;

-- adds everywhere; changes only what has a state; deletes only what is looked up anew
GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO cops_writer;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO cops_writer;
GRANT UPDATE ON
    account_tenants, alert_state, allocation_run_log, budgets, cur_billing_head, cur_ingestion_log,
    evidence_head, invoice_freeze, outbox, period_head, period_lock, recon_exceptions, tag_aliases,
    tenant_usage, tenants
TO cops_writer;
GRANT DELETE ON
    active_cost_allocation_tag, aws_budget, budget_master, cur_billing_head, cur_delivery_place, cur_read_file,
    foreign_export, tag_coverage
TO cops_writer;
REVOKE INSERT ON cops_alembic_version FROM cops_writer;
