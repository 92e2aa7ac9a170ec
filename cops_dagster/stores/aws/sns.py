"""A topic of Amazon SNS: publishing to it, and what its policy and subscriptions say.

Belongs here: the calls. Does not belong here: what a message says (`alerts/message.py`) and what its receiver
makes of a refusal (`alerts/receivers.py`). A call is tried once: what was not accepted is due again later.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from cops_dagster.stores.aws import call
from cops_dagster.stores.aws.call import ODD, Call, meaning, odd_answers


@dataclass(frozen=True)
class Standing:
    """Statements of a topic's policy, those that deny, and each subscription's ARN or a word in its place."""

    statements: int
    denied: int
    subscriptions: list[str]


@dataclass(frozen=True)
class Topic:
    """A topic by its ARN, which names its region. An answer is waited for that many seconds."""

    arn: str
    seconds: int

    def publish(self, *, subject: str, text: str, attributes: Mapping[str, str], key: str) -> str:
        """Publishes a message, at most once by its key if the topic is FIFO; the id SNS gave it.

        Raises:
            CopsError: `E-AWS-DENIED`, `E-AWS-THROTTLED`, `E-AWS-UNREACHABLE` and their kin.
        """
        fifo = {"MessageGroupId": "cops", "MessageDeduplicationId": key}
        with self._answering("sns:Publish"):
            answer = self._client().publish(
                TopicArn=self.arn,
                Subject=subject,
                Message=text,
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
                },
                **(fifo if self.arn.endswith(".fifo") else {}),
            )
            return f"{answer['MessageId']}"

    def standing(self) -> Standing:
        """The topic's policy and its subscriptions: what is confirmed, pending or gone.

        Raises:
            CopsError: as `publish`.
        """
        with self._answering("sns:GetTopicAttributes and sns:ListSubscriptionsByTopic"):
            client = self._client()
            policy = client.get_topic_attributes(TopicArn=self.arn)["Attributes"].get("Policy", "{}")
            pages = client.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=self.arn)
            found = [one["SubscriptionArn"] for page in pages for one in page["Subscriptions"]]
            statements = json.loads(policy).get("Statement", [])
            denied = sum(one.get("Effect") == "Deny" for one in statements)
            return Standing(len(statements), denied, found)

    def _client(self) -> Any:
        return call.client(
            call.session(),
            "sns",
            self.arn.split(":")[3],
            attempts=1,
            connect_seconds=self.seconds,
            read_seconds=self.seconds,
        )

    @contextmanager
    def _answering(self, action: str) -> Iterator[None]:
        from botocore import exceptions as aws

        asked = Call("sns", f"topic {self.arn}", action)
        try:
            yield
        except (aws.ClientError, aws.BotoCoreError) as problem:
            raise asked.refused(meaning(problem)) from None
        except odd_answers():  # also a policy that is no JSON, where `calling` would look for an endpoint
            raise asked.unreachable(ODD) from None
