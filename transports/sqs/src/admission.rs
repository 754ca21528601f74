//! The policy on a queue that lets topics send to it: written once, beside whatever others have written there.

use serde_json::{Value, json};

/// The name of our statement.
const NAME: &str = "LonghaulEvents";

/// The policy with our statement in it; `None` where it is there already.
pub(crate) fn admitting(
    policy: Option<&str>,
    queue_arn: &str,
    topics_arn: &str,
) -> Result<Option<String>, serde_json::Error> {
    let ours = json!({
        "Sid": NAME,
        "Effect": "Allow",
        "Principal": { "Service": "sns.amazonaws.com" },
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": { "ArnLike": { "aws:SourceArn": topics_arn } },
    });
    let mut document: Value = match policy.filter(|text| !text.trim().is_empty()) {
        Some(text) => serde_json::from_str(text)?,
        None => json!({ "Version": "2012-10-17", "Statement": [] }),
    };
    let mut statements = match document.get_mut("Statement").map(Value::take) {
        Some(Value::Array(statements)) => statements,
        // A single statement may stand without brackets.
        Some(single @ Value::Object(_)) => vec![single],
        _ => Vec::new(),
    };
    if statements.contains(&ours) {
        return Ok(None);
    }
    statements.retain(|statement| statement["Sid"] != NAME);
    statements.push(ours);
    document["Statement"] = Value::Array(statements);
    Ok(Some(document.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(policy: Option<&str>) -> Option<String> {
        admitting(policy, "arn:q", "arn:t*").unwrap()
    }

    #[test]
    fn when_the_statement_is_there_nothing_is_written() {
        let written = admitted(None).unwrap();
        assert_eq!(admitted(Some(&written)), None);
    }

    #[test]
    fn when_others_have_written_there_theirs_stays_and_an_old_one_of_ours_goes() {
        let theirs = json!({ "Sid": "Theirs", "Effect": "Deny" });
        let old = json!({ "Sid": NAME, "Effect": "Allow" });
        for statements in [json!([theirs, old]), theirs.clone()] {
            let policy = json!({ "Version": "2012-10-17", "Id": "x", "Statement": statements });
            let written: Value = serde_json::from_str(&admitted(Some(&policy.to_string())).unwrap()).unwrap();
            let statements = written["Statement"].as_array().unwrap();
            assert_eq!(statements.len(), 2);
            assert_eq!(statements[0], theirs);
            assert_eq!(written["Id"], "x");
        }
    }

    #[test]
    fn when_the_policy_is_no_json_it_is_not_overwritten() {
        assert!(admitting(Some("{"), "arn:q", "arn:t*").is_err());
    }
}
