"""The columns that AWS's data dictionary of the CUR knows beside the expected schema. Pure.

Belongs here: which columns are no news although COPS expects them nowhere: the attributes of products, which
come and go with the services in use, and what customers name themselves. Does not belong here: what COPS
reads (`cur/schema.py`). The names are those of real reports of 2018 and 2022 and of AWS's dictionary.
"""

from __future__ import annotations

OF_CUSTOMERS = ("resource_tags_", "cost_category_", "iam_principal_", "user_attribute_")
"""Columns that a customer's own tags and categories make: any name below these is possible."""

_PRODUCT = (
    "alarm_type attach_tag availability availability_zone broker_engine bundle bundle_description"
    " bundle_group cache_engine capacity capacitystatus category ci_type classicnetworkingsupport"
    " clock_speed cloud_search_version component compute_family compute_type content_type country cputype"
    " current_generation data_transfer_out data_transfer_quota database_edition database_engine"
    " dedicated_ebs_throughput deployment_option description dominantnondominant durability ecu edition"
    " elastic_graphics_type endpoint_type engine engine_code engine_media_type enhanced_networking_support"
    " enhanced_networking_supported event_type feature file_system_type finding_group finding_source"
    " free_overage free_query_types free_tier free_trial free_usage_included from_location gpu gpu_memory"
    " granularity group group_description insightstype instance instance_configuration_type"
    " instance_function instance_name instance_type_family integrating_api integrating_service"
    " intel_avx2_available intel_avx_available intel_turbo_available invocation license license_model"
    " logs_destination logs_source logs_type mailbox_storage marketoption max_iops_burst_performance"
    " max_iopsvolume max_throughputvolume max_volume_size maximum_extended_storage maximum_storage_volume"
    " memory memory_gib memorytype message_delivery_frequency message_delivery_order messaging_type"
    " min_volume_size minimum_storage_volume network_performance normalization_size_factor operation_type"
    " origin os_license_model output_mode overhead pack_size parameter_type physical_cores physical_cpu"
    " physical_gpu physical_processor plan_type platform_type platoattachmenttype platoclassification"
    " platoclouddesignation platodataanalyzed platodatatransfertype platofeaturetype platogranularity"
    " platoinstancename platoinstancetype platopricingtype platopricingunittype platoprotocoltype"
    " platorole platostoragename platostoragetype platotier platotrafficdirection platotransactiontype"
    " platousagetype platovolumetype port_speed pre_installed_sw pricingplan prioritystatus"
    " processor_architecture processor_features product_family product_schema_description product_type"
    " protocol provider provisioned provisioned_throughput purchase_option purchaseterm q_present"
    " query_type queue_type recipient replication_type request_description request_type"
    " resource_assessment resource_endpoint resource_price_group resource_type rootvolume routing_target"
    " routing_type running_mode scan_type server_location service servicename size_flex software_included"
    " software_type standard_group standard_storage standard_storage_retention_included steps storage"
    " storage_class storage_family storage_media storage_tier storage_type subcategory subscription_type"
    " subservice supported_modes target_group tenancy tenancy_support throughput throughput_capacity"
    " throughput_class tickettype tier tiertype time_window to_location transfer_type type updates"
    " usage_family usage_group usage_volume uservolume vcpu version video_memory_gib"
    " virtual_interface_type volume_api_name volume_type vpcnetworkingsupport with_active_users"
    " worker_type"
)
_OTHER = (
    "bill_invoice_status bill_payer_account_name line_item_usage_account_name line_item_net_blended_cost"
    " pricing_lease_contract_length pricing_offering_class pricing_purchase_option pricing_rate_code"
    " reservation_availability_zone reservation_end_time reservation_modification_status"
    " reservation_net_amortized_upfront_cost_for_usage reservation_net_recurring_fee_for_usage"
    " reservation_net_upfront_value reservation_normalized_units_per_reservation"
    " reservation_number_of_reservations reservation_start_time"
    " reservation_total_reserved_normalized_units reservation_total_reserved_units"
    " reservation_units_per_reservation reservation_unused_normalized_unit_quantity"
    " reservation_unused_quantity reservation_upfront_value savings_plan_end_time"
    " savings_plan_instance_type_family savings_plan_offering_type savings_plan_payment_option"
    " savings_plan_purchase_term savings_plan_region savings_plan_savings_plan_rate"
    " savings_plan_start_time discount_bundled_discount discount_total_discount"
    " split_line_item_actual_usage split_line_item_parent_resource_id split_line_item_reserved_usage"
    " split_line_item_split_usage split_line_item_split_usage_ratio split_line_item_split_cost"
    " split_line_item_unused_cost split_line_item_net_split_cost split_line_item_net_unused_cost"
    " split_line_item_public_on_demand_split_cost split_line_item_public_on_demand_unused_cost"
)

KNOWN = frozenset({*(f"product_{name}" for name in _PRODUCT.split()), *_OTHER.split()})
"""Columns of AWS's dictionary, under their Athena names."""


def is_of_customer(name: str) -> bool:
    """Whether a customer's tag or category made the column."""
    return name.lower().startswith(OF_CUSTOMERS)


def is_known(name: str) -> bool:
    """Whether the column is no news to AWS's dictionary."""
    return name.lower() in KNOWN
