"""Who the demo's customers are and what they run: tenants, plans, accounts, kinds of usage.

Belongs here: names and proportions, as constants. Does not belong here: money of a given month
(`demo/profile.py`, `demo/bill.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

UNITS = 10**10
"""Money of the demo is an integer of 10⁻¹⁰ USD, the finest step AWS bills in; this many make 1 USD."""

REPORT = "cops-demo"
BUCKET = "cops-demo-billing"
REGION = "eu-central-1"

PAYER = "123456789012"
PRODUCTION = "012345678901"  # leading zero: an account number read as a number loses it
PLATFORM = "234567890123"
DEDICATED = "345678901234"  # belongs to one tenant, whose untagged lines it names
DEDICATED_TENANT = "umbrella"


@dataclass(frozen=True)
class Tenant:
    """A customer. `weight` is its share of tagged usage in basis points."""

    tenant_id: str
    name: str
    plan_id: str
    weight: int
    currency: str = "USD"


TENANTS: tuple[Tenant, ...] = (
    Tenant("acme", "Acme Corporation", "enterprise", 2150),
    Tenant("globex", "Globex Inc", "enterprise", 1700),
    Tenant("initech", "Initech LLC", "business", 1200),
    Tenant("umbrella", "Umbrella Group", "business", 1000),
    Tenant("hooli", "Hooli", "business", 900),
    Tenant("stark", "Stark Industries", "team", 800),
    Tenant("wayne", "Wayne Enterprises", "team", 650),
    Tenant("wonka", "Wonka Industries", "team", 500, "EUR"),
    Tenant("cyberdyne", "Cyberdyne Systems", "team", 400),
    Tenant("tyrell", "Tyrell Corporation", "starter", 300),
    Tenant("soylent", "Soylent Corp", "starter", 250),
    Tenant("vandelay", "Vandelay Industries", "starter", 150),
)

PLANS: dict[str, int] = {"starter": 0, "team": 500, "business": 800, "enterprise": 1000}
"""Plan → markup in basis points."""

ALIASES: dict[str, str] = {"Acme": "acme", "globex-inc": "globex"}
"""Tag values that people wrote otherwise → tenant. Lines with the first occur."""

UNKNOWN_TAG = "acmee"
"""A mistyped tag value: no tenant and no alias."""


@dataclass(frozen=True)
class Kind:
    """One kind of metered usage.

    Attributes:
        weight: share of a tenant's usage in basis points; 0 where only shared lines have it.
        quantity: most units metered in one hour.
        prefix: how resource ids of this kind begin; empty where AWS names no resource.
    """

    name: str
    weight: int
    product_code: str
    servicecode: str
    product_name: str
    family: str
    usage_type: str
    operation: str
    component: str
    unit: str
    quantity: int
    prefix: str
    instance_type: str = ""
    normalization: int | None = None  # in quarters: 0.25 is the smallest factor AWS has


_EC2 = ("AmazonEC2", "AmazonEC2", "Amazon Elastic Compute Cloud")
_RDS = ("AmazonRDS", "AmazonRDS", "Amazon Relational Database Service")
_S3 = ("AmazonS3", "AmazonS3", "Amazon Simple Storage Service")
_EKS = ("AmazonEKS", "AmazonEKS", "Amazon Elastic Container Service for Kubernetes")
_LAMBDA = ("AWSLambda", "AWSLambda", "AWS Lambda")
_TRANSFER = ("AmazonEC2", "AWSDataTransfer", "Amazon Elastic Compute Cloud")  # two names, one line

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "api",
            2000,
            *_EC2,
            "Compute Instance",
            "EUC1-BoxUsage:m6i.large",
            "RunInstances",
            "api",
            "Hrs",
            1,
            "i-",
            "m6i.large",
            16,
        ),
        Kind(
            "worker",
            1600,
            *_EC2,
            "Compute Instance",
            "EUC1-BoxUsage:c6i.xlarge",
            "RunInstances",
            "worker",
            "Hrs",
            1,
            "i-",
            "c6i.xlarge",
            32,
        ),
        Kind(
            "web",
            900,
            *_EC2,
            "Compute Instance",
            "EUC1-BoxUsage:t3.medium",
            "RunInstances:0002",
            "web",
            "Hrs",
            1,
            "i-",
            "t3.medium",
            8,
        ),
        Kind(
            "disk",
            600,
            *_EC2,
            "Storage",
            "EUC1-EBS:VolumeUsage.gp3",
            "CreateVolume-Gp3",
            "storage",
            "GB-Mo",
            2,
            "vol-",
        ),
        Kind(
            "database",
            1900,
            *_RDS,
            "Database Instance",
            "EUC1-InstanceUsage:db.r6g.large",
            "CreateDBInstance:0014",
            "db",
            "Hrs",
            1,
            "arn:aws:rds:eu-central-1:",
            "db.r6g.large",
            16,
        ),
        Kind(
            "database-disk",
            500,
            *_RDS,
            "Database Storage",
            "EUC1-RDS:GP3-Storage",
            "CreateDBInstance:0014",
            "db",
            "GB-Mo",
            3,
            "arn:aws:rds:eu-central-1:",
        ),
        Kind(
            "bucket",
            800,
            *_S3,
            "Storage",
            "EUC1-TimedStorage-ByteHrs",
            "StandardStorage",
            "storage",
            "GB-Mo",
            5,
            "cops-data-",
        ),
        Kind(
            "requests",
            300,
            *_S3,
            "API Request",
            "EUC1-Requests-Tier1",
            "PutObject",
            "storage",
            "Requests",
            40_000,
            "",
        ),
        Kind(
            "functions",
            500,
            *_LAMBDA,
            "Serverless",
            "EUC1-Lambda-GB-Second",
            "Invoke",
            "worker",
            "Second",
            90_000,
            "arn:aws:lambda:eu-central-1:",
        ),
        Kind(
            "pods",
            400,
            *_EKS,
            "Compute",
            "EUC1-Fargate-vCPU-Hours:perCPU",
            "FargatePod",
            "worker",
            "hours",
            4,
            "arn:aws:eks:eu-central-1:",
        ),
        Kind(
            "transfer",
            200,
            *_TRANSFER,
            "Data Transfer",
            "EUC1-DataTransfer-Out-Bytes",
            "RunInstances",
            "network",
            "GB",
            60,
            "",
        ),
        Kind(
            "control-plane",
            0,
            *_EKS,
            "Compute",
            "EUC1-AmazonEKS-Hours:perCluster",
            "CreateOperation",
            "api",
            "hours",
            1,
            "arn:aws:eks:eu-central-1:",
        ),
        Kind(
            "nat", 0, *_EC2, "NAT Gateway", "EUC1-NatGateway-Bytes", "NatGateway", "network", "GB", 80, "nat-"
        ),
    )
}
"""Weights add up to 9,700; the last 300 basis points are usage that a savings plan covers."""

COVERED_WEIGHT = 300
RESERVED_WEIGHT = 500
"""On-demand value of usage on reservations, beside the 10,000: its unblended cost is 0."""

RESERVATIONS: dict[str, str] = {
    "api": f"arn:aws:ec2:{REGION}:{PAYER}:reserved-instances/6f1d2c4e-0001",
    "database": f"arn:aws:rds:{REGION}:{PAYER}:ri:cops-demo-db",
}
"""Kind → the reservation its reserved usage runs on."""

SAVINGS_PLAN = f"arn:aws:savingsplans::{PAYER}:savingsplan/4b7c9a10-0001"

EFFECTIVE_PCT_SAVINGS_PLAN = 72
EFFECTIVE_PCT_RESERVATION = 62
RECURRING_PCT_RESERVATION = 37
"""Percent of the on-demand price: what committed usage costs, and the part of it paid as a fee."""
