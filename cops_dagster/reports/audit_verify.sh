#!/bin/sh
# Redoes this audit sample with sha256sum, sqlite3 (3.39 or newer) and, where decisions are signed, ssh-keygen;
# nothing of COPS is used.
#   sh verify.sh                the files, the population, the choice, the sums, the chain
#   sh verify.sh EVIDENCE       the delivered files too, in the evidence store's folder
# Ends with 0 when everything agrees, with 1 and one line for each thing that does not.
set -u
export LC_ALL=C
evidence=${1:+$(cd "$1" && pwd)}
cd "$(dirname "$0")" || exit 1
failed=0
say() { if [ "$2" = 0 ]; then echo "ok      $1"; else echo "FAILED  $1"; failed=1; fi; }

sha256sum --check --quiet --strict SHA256SUMS >/dev/null 2>&1
say "every file is the one that SHA256SUMS names" $?

# CSV is read by sqlite3 alone: a cell may hold commas, quotes and line breaks.
ask() { sqlite3 -batch -bail :memory: "$@" 2>&1; }
load() { printf '.mode csv\n'; for name in "$@"; do printf '.import %s.csv %s\n' "$name" "$name"; done; printf '.mode list\n'; }
every() { { load "$2"; echo "SELECT $1 FROM $2;"; } | ask; }

[ "$(sha256sum <seal.json | cut -d' ' -f1)" = "$(every seal_digest parameters)" ]
say "seal.json is the document whose digest closed the month" $?

# Amounts have 18 places, more than an integer of SQLite holds: whole units and two times nine places are
# added up apart, and carried over. 0 means that both sides are equal to the last digit.
sums="
CREATE TEMP VIEW amounts AS SELECT what, side,
    (CASE WHEN usd LIKE '-%' THEN -1 ELSE 1 END) * side AS s, ltrim(usd, '-') || '.' AS a FROM both;
CREATE TEMP VIEW parts AS SELECT what, s, CAST(substr(a, 1, instr(a, '.') - 1) AS INTEGER) AS u,
    substr(replace(substr(a, instr(a, '.') + 1), '.', '') || '000000000000000000', 1, 18) AS f FROM amounts;
CREATE TEMP VIEW added AS SELECT what, SUM(s * u) AS u, SUM(s * CAST(substr(f, 1, 9) AS INTEGER)) AS m,
    SUM(s * CAST(substr(f, 10, 9) AS INTEGER)) AS n FROM parts GROUP BY what;
CREATE TEMP VIEW carried AS SELECT what, n % 1000000000 AS n, (m + n / 1000000000) % 1000000000 AS m,
    u + (m + n / 1000000000) / 1000000000 AS u FROM added;
SELECT 'differs', what, u, m, n FROM carried WHERE u <> 0 OR m <> 0 OR n <> 0;"

none() { # a sentence that holds when the query on standard input answers with no row
    found=$({ load $2; cat; } | ask)
    [ -z "$found" ]
    say "$1" $?
    [ -z "$found" ] || printf '%s\n' "$found" | head -n 20 | sed 's/^/        /'
}

none "the population has as many entries as were sealed" "population" <<'SQL'
SELECT COUNT(*) FROM population
HAVING COUNT(*) <> json_extract(readfile('seal.json'), '$.entry_count') OR COUNT(*) <> COUNT(DISTINCT entry_id);
SQL

for amount in allocated_cost_usd allocated_amortized_cost_usd allocated_net_amortized_cost_usd; do
    none "the population adds up to the sealed $amount" "population" <<SQL
CREATE TEMP VIEW both AS SELECT 'total' AS what, 1 AS side, $amount AS usd FROM population
UNION ALL SELECT 'total', -1, json_extract(readfile('seal.json'), '\$.totals.$amount');
$sums
SQL
done

for pair in unblended:allocated_cost_usd amortized:allocated_amortized_cost_usd \
    net_amortized:allocated_net_amortized_cost_usd; do
    none "what was allocated is what was delivered, by service and charge class: ${pair%%:*}" \
        "population conservation" <<SQL
CREATE TEMP VIEW both AS SELECT service || ' ' || charge_class AS what, 1 AS side, ${pair##*:} AS usd
FROM population WHERE table_name = 'fact_cost_allocated'
UNION ALL SELECT service || ' ' || charge_class, -1, pool_${pair%%:*}_usd FROM conservation;
$sums
SQL
done

none "the CUR lines behind the sample add up to their pools" "lines conservation" <<SQL
CREATE TEMP VIEW both AS SELECT service || ' ' || charge_class AS what, 1 AS side, unblended_usd AS usd
FROM lines UNION ALL SELECT service || ' ' || charge_class, -1, pool_unblended_usd FROM conservation
WHERE (service, charge_class) IN (SELECT service, charge_class FROM lines);
$sums
SQL

none "the sample is what the seed chooses" "population sample parameters" <<'SQL'
WITH ranked AS (
    SELECT entry_id, lower(hex(sha3((SELECT seed FROM parameters) || ':' || entry_id, 256))) AS rank
    FROM population ORDER BY 2 LIMIT (SELECT CAST(n AS INTEGER) FROM parameters)
)
SELECT 'missing', entry_id FROM ranked WHERE (entry_id, rank) NOT IN (SELECT entry_id, rank_sha3_256 FROM sample)
UNION ALL SELECT 'not chosen', entry_id FROM sample WHERE entry_id NOT IN (SELECT entry_id FROM ranked);
SQL

none "a chosen entry stands in the population as it stands in the sample" "population sample" <<'SQL'
SELECT s.entry_id FROM sample AS s LEFT JOIN population AS p ON p.entry_id = s.entry_id
WHERE (p.tenant_id, p.service, p.charge_class, p.allocated_cost_usd, p.run_id, p.rule_id, p.rule_version)
    IS NOT (s.tenant_id, s.service, s.charge_class, s.allocated_cost_usd, s.run_id, s.rule_id, s.rule_version);
SQL

none "every run behind the sample is in the journal of the month" "sample publish_journal" <<'SQL'
SELECT run_id FROM sample WHERE run_id NOT IN (SELECT run_id FROM publish_journal);
SQL

none "each entry of the chain names the hash of the one before" "chain" <<'SQL'
SELECT evidence_seq FROM (
    SELECT evidence_seq, prev_hash, lag(entry_hash, 1, '') OVER (ORDER BY CAST(evidence_seq AS INTEGER)) AS before,
        row_number() OVER (ORDER BY CAST(evidence_seq AS INTEGER)) AS number FROM chain
) WHERE prev_hash <> before OR CAST(evidence_seq AS INTEGER) <> number;
SQL

wrong=$(every "entry_hash || '  entries/' || printf('%08d', evidence_seq)" chain |
    while read -r hash file; do [ ! -f "$file" ] || printf '%s  %s\n' "$hash" "$file"; done |
    sha256sum --check --quiet --strict 2>&1)
[ -z "$wrong" ]
say "each entry about the month is the hash of its own bytes" $?

wrong=$(for file in objects/*; do [ "$(sha256sum <"$file" | cut -d' ' -f1)" = "$(basename "$file")" ] || echo "$file"; done)
[ -z "$wrong" ]
say "each document is the one that the chain names" $?

none "nobody approved what they asked for" "approval" <<'SQL'
SELECT subject_type, subject_id FROM approval
WHERE lower(trim(approved_by)) = lower(trim(requested_by));
SQL

if [ -d signatures ]; then
    for signed in signatures/*; do
        who=$(cat "$signed/principal")
        ssh-keygen -Y verify -f "$signed/allowed_signers" -I "$who" -n "$(cat "$signed/namespace")" \
            -s "$signed/decision.txt.sig" <"$signed/decision.txt" >/dev/null 2>&1
        say "$who signed $(basename "$signed" | cut -c1-16)" $?
    done
fi

if [ $# -gt 0 ]; then
    wrong=$(every sha256 delivered_files | while read -r digest; do
        file="$evidence/objects/$(printf '%s' "$digest" | cut -c1-2)/$digest"
        [ "$(sha256sum <"$file" 2>/dev/null | cut -d' ' -f1)" = "$digest" ] || echo "$digest"
    done)
    [ -z "$wrong" ]
    say "the delivered files in $1 are those of the month" $?
fi
exit $failed
