{#- the decimal with fewest places that reads back as the same double; the cast covers up to 10 places -#}
{% macro exact(name) -%}
    CASE WHEN CAST(TRY_CAST({{ name }} AS DECIMAL(15, 10)) AS DOUBLE) = {{ name }}
        THEN CAST(TRY_CAST({{ name }} AS DECIMAL(15, 10)) AS DECIMAL(38, 18))
        ELSE CAST(CAST({{ name }} AS VARCHAR) AS DECIMAL(38, 18)) END AS {{ name }}
{%- endmacro %}
