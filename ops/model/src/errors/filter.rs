//! Which failed messages are meant.

use std::collections::BTreeSet;
use std::time::Duration;

use longhaul_core::clock::Timestamp;

use crate::errors::failed::Failed;

/// What a failed message must be like; what is left out does not matter.
///
/// ```
/// use longhaul_core::clock::Timestamp;
/// use longhaul_ops::errors::{Failed, Filter};
///
/// let filter = Filter { reason: Some("bad-body".to_owned()), ..Filter::default() };
/// assert!(!filter.matches(&Failed::default(), Timestamp::UNIX_EPOCH));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The endpoint that gave up.
    pub endpoint: Option<String>,
    /// The wire name of the type; one that ends with `*` matches what begins like it.
    pub type_name: Option<String>,
    /// The word for why.
    pub reason: Option<String>,
    /// A part of what the error or one of its causes said, in any case.
    pub text: Option<String>,
    /// It failed last longer ago than this. One that does not say when never matches.
    pub older_than: Option<Duration>,
    /// It failed last within this time. One that does not say when never matches.
    pub newer_than: Option<Duration>,
    /// The conversation.
    pub conversation: Option<String>,
    /// A saga's name, or `NAME/ID` for one instance of it.
    pub saga: Option<String>,
}

impl Filter {
    /// Whether it leaves anything out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a message is meant, at `now`.
    #[must_use]
    pub fn matches(&self, failed: &Failed, now: Timestamp) -> bool {
        let same = |wanted: &Option<String>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
        };
        same(&self.endpoint, failed.endpoint.as_deref())
            && same(&self.reason, failed.reason.as_deref())
            && same(&self.conversation, failed.conversation.as_deref())
            && self.is_of_type(failed)
            && self.is_of_age(failed, now)
            && self.is_of_saga(failed)
            && self.says(failed)
    }

    fn is_of_type(&self, failed: &Failed) -> bool {
        self.type_name
            .as_deref()
            .is_none_or(|wanted| match wanted.strip_suffix('*') {
                Some(beginning) => failed.type_name.starts_with(beginning),
                None => failed.type_name == wanted,
            })
    }

    fn is_of_age(&self, failed: &Failed, now: Timestamp) -> bool {
        let age = failed.last_failure.map(|last| now.since(last));
        let older = self
            .older_than
            .is_none_or(|than| age.is_some_and(|age| age > than));
        let newer = self
            .newer_than
            .is_none_or(|than| age.is_some_and(|age| age <= than));
        older && newer
    }

    fn is_of_saga(&self, failed: &Failed) -> bool {
        let Some(wanted) = self.saga.as_deref() else {
            return true;
        };
        failed.sagas.iter().any(|part| {
            let instance = wanted.strip_prefix(part.saga.as_str());
            let instance = instance.and_then(|rest| rest.strip_prefix('/'));
            part.saga == wanted || (instance.is_some() && instance == part.id.as_deref())
        })
    }

    fn says(&self, failed: &Failed) -> bool {
        let Some(wanted) = self.text.as_deref() else {
            return true;
        };
        let wanted = wanted.to_lowercase();
        let texts = failed.text.iter().chain(&failed.chain);
        texts
            .into_iter()
            .any(|text| text.to_lowercase().contains(&wanted))
    }
}

/// Which messages an action is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// Those with these ids.
    Ids(BTreeSet<String>),
    /// Those that match.
    Matching(Filter),
}

impl Selection {
    /// Whether a message is meant, at `now`.
    #[must_use]
    pub fn takes(&self, failed: &Failed, now: Timestamp) -> bool {
        match self {
            Self::Ids(ids) => failed.id.as_ref().is_some_and(|id| ids.contains(id)),
            Self::Matching(filter) => filter.matches(failed, now),
        }
    }

    /// The ids that were asked for; none where it was said what messages are like.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        match self {
            Self::Ids(ids) => ids.clone(),
            Self::Matching(_) => BTreeSet::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::failed::PartOf;

    fn failed() -> Failed {
        Failed {
            type_name: "billing.charge_card.v1".to_owned(),
            reason: Some("handler-failed".to_owned()),
            text: Some("charge the card: Bank is CLOSED".to_owned()),
            chain: vec!["connection refused".to_owned()],
            endpoint: Some("billing".to_owned()),
            last_failure: Some(Timestamp::UNIX_EPOCH + Duration::from_secs(1000)),
            conversation: Some("c-1".to_owned()),
            sagas: vec![PartOf {
                saga: "order".to_owned(),
                id: Some("7".to_owned()),
            }],
            ..Failed::default()
        }
    }

    fn takes(filter: &Filter) -> bool {
        filter.matches(&failed(), Timestamp::UNIX_EPOCH + Duration::from_secs(1100))
    }

    #[test]
    fn when_nothing_is_asked_for_everything_matches() {
        assert!(Filter::default().is_empty() && takes(&Filter::default()));
    }

    #[test]
    fn when_one_of_several_conditions_fails_the_message_is_left_out() {
        let good = Filter {
            endpoint: Some("billing".to_owned()),
            type_name: Some("billing.*".to_owned()),
            reason: Some("handler-failed".to_owned()),
            text: Some("bank is closed".to_owned()),
            older_than: Some(Duration::from_secs(99)),
            newer_than: Some(Duration::from_secs(100)),
            conversation: Some("c-1".to_owned()),
            saga: Some("order/7".to_owned()),
        };
        assert!(takes(&good));
        let other = || Some("other".to_owned());
        let bad = [
            Filter {
                endpoint: other(),
                ..good.clone()
            },
            Filter {
                type_name: Some("billing".to_owned()),
                ..good.clone()
            },
            Filter {
                reason: other(),
                ..good.clone()
            },
            Filter {
                text: other(),
                ..good.clone()
            },
            Filter {
                older_than: Some(Duration::from_secs(100)),
                ..good.clone()
            },
            Filter {
                newer_than: Some(Duration::from_secs(99)),
                ..good.clone()
            },
            Filter {
                conversation: other(),
                ..good.clone()
            },
            Filter {
                saga: Some("order/8".to_owned()),
                ..good.clone()
            },
            Filter {
                saga: Some("orde".to_owned()),
                ..good.clone()
            },
        ];
        for filter in bad {
            assert!(!takes(&filter), "{filter:?}");
        }
    }

    #[test]
    fn when_a_cause_says_it_the_text_matches() {
        let filter = Filter {
            text: Some("Refused".to_owned()),
            ..Filter::default()
        };
        assert!(takes(&filter));
    }
}
