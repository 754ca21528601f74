//! The least rights that a plan takes, as an IAM policy.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    inner::{arn, bucket_arn},
    plan::{Bodies, Plan, Purpose, Subscription},
};

/// Full names of everything in a plan.
struct Named<'a> {
    plan: &'a Plan,
    account: &'a str,
}

impl Plan {
    /// The least rights for an endpoint that makes and uses all of this, as an IAM policy in JSON.
    #[must_use]
    pub fn policy(&self, account: &str) -> String {
        let named = Named { plan: self, account };
        document([named.using(), named.creating()].concat())
    }

    /// The least rights for an endpoint that uses what somebody else has made (`Declare::Assume` or `Verify`).
    #[must_use]
    pub fn policy_to_run(&self, account: &str) -> String {
        document(Named { plan: self, account }.using())
    }
}

impl Named<'_> {
    fn queue(&self, name: &str) -> String {
        arn("sqs", &self.plan.region, self.account, name)
    }

    fn topic(&self, name: &str) -> String {
        arn("sns", &self.plan.region, self.account, name)
    }

    fn queues(&self, purpose: Purpose) -> BTreeSet<String> {
        let queues = self.plan.queues.iter().filter(|queue| queue.purpose == purpose);
        queues.map(|queue| self.queue(&queue.name)).collect()
    }

    fn topics(&self, subscriptions: &[Subscription]) -> BTreeSet<String> {
        subscriptions.iter().map(|one| self.topic(&one.topic)).collect()
    }

    fn bodies(&self, name: impl Fn(&Bodies) -> String) -> BTreeSet<String> {
        let bodies = self.plan.bodies.iter();
        bodies
            .map(|bodies| bucket_arn(&self.plan.region, &name(bodies)))
            .collect()
    }

    fn using(&self) -> Vec<Value> {
        let consume = [
            "sqs:GetQueueUrl",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:ChangeMessageVisibility",
            "sqs:SendMessage",
            "sqs:ListQueueTags",
            "sqs:TagQueue",
            "sqs:UntagQueue",
        ];
        let consumed = [Purpose::Input, Purpose::Delays, Purpose::Inlet].map(|purpose| self.queues(purpose));
        let consumed = consumed.into_iter().flatten().collect();
        let set_aside = ["sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:SendMessage"];
        let others = self.plan.sends_to.iter().map(|name| self.queue(name));
        let instead_of = self.plan.instead_of.iter().map(|name| self.queue(name));
        let events = self.plan.publishes.iter().map(|name| self.topic(name));
        [
            statement("Consume", &consume, &consumed),
            statement("SetAside", &set_aside, &self.queues(Purpose::Errors)),
            statement("Send", &["sqs:GetQueueUrl", "sqs:SendMessage"], &others.collect()),
            statement(
                "TellApart",
                &["sqs:GetQueueUrl", "sqs:GetQueueAttributes"],
                &instead_of.collect(),
            ),
            statement(
                "Publish",
                &["sns:Publish", "sns:GetTopicAttributes"],
                &events.collect(),
            ),
            statement(
                "KeepBodies",
                &["s3:PutObject", "s3:GetObject"],
                &self.bodies(|bodies| format!("{}/{}*", bodies.bucket, bodies.prefix)),
            ),
            // Without it a body that is gone can't be told from one that may not be read.
            statement("MissBodies", &["s3:ListBucket"], &self.bodies(bucket)),
            statement(
                "Look",
                &["sns:GetTopicAttributes"],
                &self.topics(&self.plan.subscriptions),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn creating(&self) -> Vec<Value> {
        let plan = self.plan;
        let all = plan.queues.iter().map(|queue| self.queue(&queue.name));
        let subscribing = plan.subscriptions.iter().map(|one| self.queue(&one.queue));
        let subscribe = [
            "sns:CreateTopic",
            "sns:Subscribe",
            "sns:SetSubscriptionAttributes",
        ];
        let retired = self.topics(&plan.retired);
        let subscriptions = retired.iter().map(|topic| format!("{topic}:*"));
        [
            statement("Create", &["sqs:CreateQueue"], &all.collect()),
            statement("LetEventsIn", &["sqs:SetQueueAttributes"], &subscribing.collect()),
            statement("Subscribe", &subscribe, &self.topics(&plan.subscriptions)),
            statement(
                "RemoveBodies",
                &["s3:GetLifecycleConfiguration", "s3:PutLifecycleConfiguration"],
                &self.bodies(bucket),
            ),
            statement("Retire", &["sns:ListSubscriptionsByTopic"], &retired),
            statement("Unsubscribe", &["sns:Unsubscribe"], &subscriptions.collect()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn bucket(bodies: &Bodies) -> String {
    bodies.bucket.clone()
}

fn statement(name: &str, actions: &[&str], resources: &BTreeSet<String>) -> Option<Value> {
    (!resources.is_empty()).then(|| {
        json!({
            "Sid": format!("Longhaul{name}"),
            "Effect": "Allow",
            "Action": actions,
            "Resource": resources,
        })
    })
}

fn document(statements: Vec<Value>) -> String {
    let document = json!({ "Version": "2012-10-17", "Statement": Value::Array(statements) });
    format!("{document:#}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::{address, plan};

    #[test]
    fn when_rights_are_asked_for_they_are_the_least() {
        let plan = plan()
            .sending_to([&address("billing")])
            .and_then(|plan| plan.publishing(["sales.placed.v1"]))
            .unwrap()
            .keeping(Bodies {
                bucket: "large".to_owned(),
                prefix: "bodies/".to_owned(),
                days: 30,
            });
        let policy: Value = serde_json::from_str(&plan.policy("123456789012")).unwrap();
        let statement = |policy: &Value, name: &str| {
            let all = policy["Statement"].as_array().unwrap().clone();
            all.into_iter()
                .find(|one| one["Sid"] == format!("Longhaul{name}"))
        };
        assert_eq!(
            statement(&policy, "Send").unwrap()["Resource"],
            json!(["arn:aws:sqs:eu-west-1:123456789012:prod-billing"])
        );
        assert_eq!(
            statement(&policy, "Publish").unwrap()["Resource"],
            json!(["arn:aws:sns:eu-west-1:123456789012:prod-sales__placed__v1"])
        );
        assert_eq!(
            statement(&policy, "Unsubscribe").unwrap()["Resource"],
            json!(["arn:aws:sns:eu-west-1:123456789012:prod-old:*"])
        );
        assert_eq!(
            statement(&policy, "KeepBodies").unwrap()["Resource"],
            json!(["arn:aws:s3:::large/bodies/*"])
        );
        let long = crate::plan::tests::planned(true).policy_to_run("123456789012");
        let consumed = statement(&serde_json::from_str(&long).unwrap(), "Consume").unwrap();
        let queue = "arn:aws:sqs:eu-west-1:123456789012:prod-sales-delay.fifo";
        assert!(consumed["Resource"].as_array().unwrap().contains(&json!(queue)));
        let ordered = crate::plan::tests::ordered(&["sales"]).unwrap();
        let ordered = serde_json::from_str(&ordered.policy("123456789012")).unwrap();
        let arns = |names: &[&str]| {
            let arn = |name| format!("arn:aws:sqs:eu-west-1:123456789012:{name}");
            json!(names.iter().map(arn).collect::<Vec<_>>())
        };
        for (name, queues) in [
            ("Consume", &["prod-sales.fifo", "prod-sales_inlet"][..]),
            ("TellApart", &["prod-sales", "prod-sales-delay.fifo"]),
            ("Create", &["prod-error", "prod-sales.fifo", "prod-sales_inlet"]),
            ("LetEventsIn", &["prod-sales_inlet"]),
        ] {
            assert_eq!(
                statement(&ordered, name).unwrap()["Resource"],
                arns(queues),
                "{name}"
            );
        }
        let text = policy.to_string();
        assert!(!text.contains("\"*\"") && !text.contains("DeleteQueue"));
        let running: Value = serde_json::from_str(&plan.policy_to_run("123456789012")).unwrap();
        assert!(statement(&running, "Consume").is_some());
        for creating in [
            "Create",
            "Subscribe",
            "LetEventsIn",
            "Unsubscribe",
            "RemoveBodies",
        ] {
            assert_eq!(statement(&running, creating), None);
        }
    }
}
