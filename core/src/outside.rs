//! Talking to third parties that know no idempotency keys: look first, then create.

use std::future::Future;

/// What [`find_or_create`] came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found<T> {
    /// It was there: an earlier attempt made it, or somebody else did.
    Already(T),
    /// It was made now.
    Created(T),
}

impl<T> Found<T> {
    /// The thing itself.
    pub fn into_inner(self) -> T {
        match self {
            Self::Already(thing) | Self::Created(thing) => thing,
        }
    }
}

/// Has a third party create something, unless it is there: by a name that follows from the message, such as
/// [`Context::idempotency_key`](crate::handler::Context::idempotency_key).
///
/// Nothing is done with `create` where `find` finds something. A creation whose answer is lost fails the attempt, and the
/// next one finds it. That holds as far as the third party shows at once what it has created; where it does not, say in its
/// failures that they are transient, so that the next attempt comes after a pause.
///
/// ```
/// # use longhaul_core::handler::{Context, Handler, HandlerError, HandlerResult};
/// # use longhaul_core::Command;
/// # #[derive(Command, serde::Serialize, serde::Deserialize)]
/// # #[message("crm.register_customer.v1")]
/// # struct RegisterCustomer { name: String }
/// # struct Crm;
/// # struct Customer;
/// # impl Crm {
/// #     async fn find(&self, _reference: &str) -> Result<Option<Customer>, std::io::Error> { Ok(None) }
/// #     async fn create(&self, _reference: &str, _name: &str) -> Result<Customer, std::io::Error> { Ok(Customer) }
/// # }
/// use longhaul_core::outside::find_or_create;
///
/// impl Handler<RegisterCustomer> for Crm {
///     async fn handle(&self, register: RegisterCustomer, ctx: &mut Context) -> HandlerResult {
///         let reference = ctx.idempotency_key();
///         find_or_create(self.find(&reference), self.create(&reference, &register.name)).await?;
///         Ok(())
///     }
/// }
/// ```
///
/// # Errors
/// What `find` or `create` said.
pub async fn find_or_create<T, E>(
    find: impl Future<Output = Result<Option<T>, E>>,
    create: impl Future<Output = Result<T, E>>,
) -> Result<Found<T>, E> {
    match find.await? {
        Some(thing) => Ok(Found::Already(thing)),
        None => create.await.map(Found::Created),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn when_it_is_there_nothing_is_created() {
        let create = async { panic!("must not be polled") };
        let found = find_or_create(async { Ok::<_, ()>(Some(7)) }, create).now_or_never();
        assert_eq!(found, Some(Ok(Found::Already(7))));
    }

    #[test]
    fn when_it_is_not_there_it_is_created_unless_nobody_can_say() {
        let created = find_or_create(async { Ok::<_, ()>(None) }, async { Ok(7) }).now_or_never();
        assert_eq!(created, Some(Ok(Found::Created(7))));
        let create = async { panic!("must not be polled") };
        let unknown = find_or_create::<u8, _>(async { Err("no answer") }, create).now_or_never();
        assert_eq!(unknown, Some(Err("no answer")));
    }
}
