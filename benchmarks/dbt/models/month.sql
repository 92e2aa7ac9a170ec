{{ config(materialized='external', format='parquet', options={'compression': 'zstd'}) }}
{%- set source = 'read_parquet(' ~ fromjson(env_var('BENCH_FILES')) ~ ')' %}
{%- set quantities = ['line_item_usage_amount', 'line_item_normalization_factor', 'line_item_normalized_usage_amount'] %}
{%- set money = [] %}
{%- if execute %}
{%- for row in run_query('DESCRIBE SELECT * FROM ' ~ source).rows if row[1] == 'DOUBLE' and row[0] not in quantities %}
{%- do money.append(exact(row[0])) %}
{%- endfor %}
{%- endif %}
SELECT * {% if money %}REPLACE ({{ money | join(', ') }}){% endif %} FROM {{ source }}
