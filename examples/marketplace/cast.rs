//! The endpoints: the one with the saga, and those around it.

use std::sync::Arc;
use std::time::Duration;

use longhaul::endpoint::EndpointBuilder;
use longhaul::prelude::*;
use longhaul::store::Persistence;
use longhaul::transport::Transport;

use crate::effects::{Billing, Care, Ledger, Warehouse};
use crate::messages::{OrderCompleted, RefundPayment, ReleaseStock, ReserveStock, SendVoucher};
use crate::pace::{Arrivals, Transit};
use crate::saga::OrderSaga;

/// Longer than any event can come after the order that it is for.
const REMEMBER: Duration = Duration::from_secs(100 * 366 * 86_400);
/// How often what is no longer needed is removed.
const RARELY: Duration = Duration::from_secs(30 * 86_400);

/// The endpoints.
pub(crate) struct Cast {
    /// Publishes what happened. It needs no store: published again, events have the same ids.
    pub(crate) shop: Endpoint,
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) ledger: Ledger,
}

impl Cast {
    /// Puts them together; each asks for a connection of its own.
    pub(crate) async fn new<T: Transport, P: Persistence + Clone>(
        connect: impl AsyncFn() -> anyhow::Result<T>,
        clock: &(impl Clock + Clone),
        store: &P,
        ledger: Ledger,
        transit: Arc<Transit>,
    ) -> anyhow::Result<Self> {
        let storeless = async |name: &str| -> anyhow::Result<EndpointBuilder> {
            Ok(Endpoint::builder(format!("marketplace.{name}"))
                .transport(connect().await?)
                .clock(clock.clone())
                .error_queue("marketplace.errors")
                .retention(REMEMBER)
                // In virtual time ten minutes are over at once.
                .settings(|settings| settings.purge_interval = RARELY))
        };
        let endpoint = async |name| anyhow::Ok(storeless(name).await?.persistence(store.clone()));
        let orders = endpoint("orders")
            .await?
            .saga::<OrderSaga>()
            .step(Arrivals(transit))
            .route::<ReserveStock>("marketplace.warehouse")
            .route::<ReleaseStock>("marketplace.warehouse")
            .route::<RefundPayment>("marketplace.billing")
            .route::<SendVoucher>("marketplace.care");
        let warehouse = endpoint("warehouse")
            .await?
            .handler::<ReserveStock>(Warehouse(ledger.clone()))
            .handler::<ReleaseStock>(Warehouse(ledger.clone()));
        let billing = endpoint("billing")
            .await?
            .handler::<RefundPayment>(Billing(ledger.clone()));
        let care = endpoint("care")
            .await?
            .handler::<SendVoucher>(Care(ledger.clone()))
            .handler::<OrderCompleted>(Care(ledger.clone()));
        let mut endpoints = Vec::new();
        for builder in [orders, warehouse, billing, care] {
            endpoints.push(builder.build().await?);
        }
        let shop = storeless("shop").await?.build().await?;
        Ok(Self {
            shop,
            endpoints,
            ledger,
        })
    }
}
