use longhaul::Event;

#[derive(Event)]
#[message("sales.order_placed.v1")]
union OrderPlaced {
    number: u64,
    bytes: [u8; 8],
}

fn main() {}
