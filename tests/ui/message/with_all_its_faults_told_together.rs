use longhaul::Event;

#[derive(Event)]
union OrderPlaced<'a, T> {
    order: &'a T,
}

fn main() {}
