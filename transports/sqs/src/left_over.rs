//! Queues of an endpoint from before it kept order, or from when it did: messages in them wait for ever, so whoever changes that
//! is told.

use longhaul_core::transport::{TransportError, TransportErrorKind};

use crate::{
    admin,
    fault::{Fault, FaultKind},
    inner::Inner,
    names::{DELAYS, FIFO, INLET},
};

/// What a queue that is not the endpoint's own any more was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left<'a> {
    /// Its input queue, without order; what that is called.
    Standard(&'a str),
    /// In it long delays went round for its input queue without order.
    Delays(&'a str),
    /// Its input queue with order, or the inlet of that, by the name without order.
    InOrder(&'a str),
}

impl<'a> Left<'a> {
    fn of(name: &'a str) -> Self {
        if let Some(plain) = name.strip_suffix(DELAYS) {
            return Self::Delays(plain);
        }
        let in_order = name.strip_suffix(FIFO).or_else(|| name.strip_suffix(INLET));
        in_order.map_or(Self::Standard(name), Self::InOrder)
    }

    /// The queue that the endpoint has now.
    fn own(self) -> String {
        match self {
            Self::Standard(plain) | Self::Delays(plain) => format!("{plain}{FIFO}"),
            Self::InOrder(plain) => plain.to_owned(),
        }
    }

    /// What is wrong with it, and what to do.
    fn text(self, name: &str) -> String {
        let own = self.own();
        match self {
            Self::Standard(_) => format!(
                "prepare the queue {own}: there is {name} too, and whoever does not know that order is kept sends there; run \
                 the endpoint without SqsBuilder::ordered until it is empty, name the endpoint in SqsBuilder::ordered of all \
                 that send to it, and delete it"
            ),
            Self::Delays(_) => format!(
                "prepare the queue {own}: messages wait in {name} that were delayed before order was kept, or may wait there, \
                 and nothing takes them from there; stop what sends to the endpoint, run it with SqsBuilder::long_delays and without \
                 SqsBuilder::ordered until that queue is empty, and delete it"
            ),
            Self::InOrder(plain) => format!(
                "prepare the queue {own}: messages wait in {name}, where order was kept, or may wait there, and nothing takes \
                 them from there; stop what sends to the endpoint, run it with SqsBuilder::ordered until {plain}{FIFO} and {plain}{INLET} are \
                 empty, and delete both; or choose another prefix, if they belong to another program"
            ),
        }
    }
}

/// Makes sure that nothing is left in a queue that was the endpoint's. Where it has its new one already, that is only said: there
/// may be no way back.
pub(crate) async fn nothing(inner: &Inner, name: &str) -> Result<(), TransportError> {
    let (left, looking) = (
        Left::of(name),
        format!("look for the queue {name}, which order is kept without"),
    );
    let Some(url) = url(inner, name)
        .await
        .map_err(|fault| fault.while_doing(&looking))?
    else {
        return Ok(());
    };
    let refused = || Err(TransportError::new(TransportErrorKind::Topology, left.text(name)));
    if let Left::Standard(_) = left {
        // Whatever sends there goes on doing so.
        return refused();
    }
    match messages(inner, &url).await {
        Ok(0) => {
            tracing::warn!(
                queue = name,
                "this queue is left over and seems to be empty: delete it"
            );
            return Ok(());
        }
        Ok(_) => {}
        Err(fault) if fault.kind == FaultKind::Missing => return Ok(()),
        // Nobody knows what is in it.
        Err(fault) if fault.kind == FaultKind::Denied => {}
        Err(fault) => return Err(fault.while_doing(&looking)),
    }
    let own = self::url(inner, &left.own()).await;
    if own.map_err(|fault| fault.while_doing(&looking))?.is_none() {
        return refused();
    }
    tracing::error!(queue = name, "{}", left.text(name));
    Ok(())
}

/// Whether a queue is there need not be known to everybody.
async fn url(inner: &Inner, name: &str) -> Result<Option<String>, Fault> {
    match inner.queues.look_up(inner, name).await {
        Ok(url) => Ok(Some(url)),
        Err(fault) if matches!(fault.kind, FaultKind::Missing | FaultKind::Denied) => Ok(None),
        Err(fault) => Err(fault),
    }
}

/// How many messages a queue holds in any way, about.
async fn messages(inner: &Inner, url: &str) -> Result<u64, Fault> {
    let depth = admin::depth(inner, url).await?;
    Ok(depth.ready + depth.unsettled.unwrap_or(0) + depth.delayed.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_a_queue_is_left_over_it_is_known_what_it_was_and_what_to_do() {
        let told = |name: &str| Left::of(name).text(name);
        assert_eq!(Left::of("sales"), Left::Standard("sales"));
        assert!(told("sales").starts_with("prepare the queue sales.fifo: there is sales too"));
        assert_eq!(Left::of("sales-delay.fifo"), Left::Delays("sales"));
        assert!(told("sales-delay.fifo").starts_with("prepare the queue sales.fifo: messages wait"));
        for name in ["sales.fifo", "sales_inlet"] {
            assert_eq!(Left::of(name), Left::InOrder("sales"));
            let text = told(name);
            assert!(
                text.starts_with("prepare the queue sales: messages wait"),
                "{text}"
            );
            assert!(
                text.contains("sales.fifo") && text.contains("sales_inlet"),
                "{text}"
            );
        }
    }
}
