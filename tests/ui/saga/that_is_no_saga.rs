use longhaul::prelude::*;

struct OrderSaga;

fn main() {
    let _endpoint = Endpoint::builder("sales").saga::<OrderSaga>();
}
