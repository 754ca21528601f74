use longhaul::prelude::*;
use longhaul::sagas::SagaEndpoint;

struct OrderSaga;

fn main() {
    let _endpoint = Endpoint::builder("sales").saga::<OrderSaga>();
}
