//! From a type with `#[message("…")]` to its implementations.

use proc_macro_crate::{FoundCrate, crate_name};
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote};
use syn::{Attribute, Data, DeriveInput, Error, GenericParam, LitStr};

use crate::wire_name;

/// What is derived.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Command,
    Event,
    Reply,
}

/// The implementations for one type, or all its faults together.
pub(crate) fn expand(input: &DeriveInput, kind: Kind) -> Result<TokenStream, Error> {
    let shape = check_shape(input);
    let name = wire_name_of(input);
    let root = root();
    if let (Ok(()), Ok(name), Ok(root)) = (&shape, &name, &root) {
        return Ok(implementations(&input.ident, name, kind, root));
    }
    let faults = [shape.err(), name.err(), root.err()];
    faults
        .into_iter()
        .flatten()
        .reduce(both)
        .map_or(Ok(TokenStream::new()), Err)
}

fn both(mut first: Error, second: Error) -> Error {
    first.combine(second);
    first
}

fn implementations(ident: &syn::Ident, name: &LitStr, kind: Kind, root: &TokenStream) -> TokenStream {
    let (variant, marker) = match kind {
        Kind::Command => (quote!(Command), Some(quote!(Command))),
        Kind::Event => (quote!(Event), Some(quote!(Event))),
        Kind::Reply => (quote!(Reply), None),
    };
    let marker = marker.map(|marker| {
        quote! {
            #[automatically_derived]
            impl #root::message::#marker for #ident {}
        }
    });
    quote! {
        #[automatically_derived]
        impl #root::message::Message for #ident {
            const NAME: &'static str = #name;
            const KIND: #root::message::MessageKind = #root::message::MessageKind::#variant;
        }
        #marker
    }
}

fn check_shape(input: &DeriveInput) -> Result<(), Error> {
    let union = match &input.data {
        Data::Union(union) => Some(Error::new_spanned(
            union.union_token,
            "a message can't be a union: make it a struct or an enum",
        )),
        Data::Struct(_) | Data::Enum(_) => None,
    };
    let parameters = input.generics.params.iter().map(|parameter| {
        let fault = match parameter {
            GenericParam::Lifetime(_) => {
                "a message can't borrow, since it outlives its sender: let it own its data and remove the lifetime"
            }
            GenericParam::Type(_) | GenericParam::Const(_) => {
                "a message can't have parameters, since one wire name stands for one type: write a type for each use"
            }
        };
        Error::new_spanned(parameter, fault)
    });
    union
        .into_iter()
        .chain(parameters)
        .reduce(both)
        .map_or(Ok(()), Err)
}

/// The name in the one `#[message("…")]`.
fn wire_name_of(input: &DeriveInput) -> Result<LitStr, Error> {
    let mut attributes = input
        .attrs
        .iter()
        .filter(|attribute| attribute.path().is_ident("message"));
    let Some(attribute) = attributes.next() else {
        let example = wire_name::mended(&input.ident.to_string());
        return Err(Error::new_spanned(
            &input.ident,
            format!("this message has no wire name: add `#[message(\"{example}.v1\")]` above the type"),
        ));
    };
    if let Some(extra) = attributes
        .map(|extra| Error::new_spanned(extra, SECOND_NAME))
        .reduce(both)
    {
        return Err(extra);
    }
    let name = literal(attribute)?;
    match wire_name::fault(&name.value()) {
        None => Ok(name),
        Some(fault) => Err(Error::new_spanned(name, fault)),
    }
}

const SECOND_NAME: &str = "a message has one wire name: remove this second `#[message(…)]`";

fn literal(attribute: &Attribute) -> Result<LitStr, Error> {
    attribute.parse_args().map_err(|_| {
        let span: &dyn ToTokens = match &attribute.meta {
            syn::Meta::List(list) if !list.tokens.is_empty() => &list.tokens,
            meta => meta,
        };
        Error::new_spanned(
            span,
            "expected the wire name in quotes and nothing else: `#[message(\"sales.order_placed.v1\")]`",
        )
    })
}

/// The path of the crate that has `message::Message`: `longhaul-core` for Longhaul's own crates, `longhaul` for its users,
/// under whatever name they import it.
fn root() -> Result<TokenStream, Error> {
    // `longhaul-core` first: a crate that has both may have `longhaul` for its tests only.
    for (package, itself) in [("longhaul-core", "longhaul_core"), ("longhaul", "longhaul")] {
        let ident = match crate_name(package) {
            Ok(FoundCrate::Name(name)) => format_ident!("{name}"),
            // Both name themselves so (`extern crate self as …`), so that this holds for their tests and examples too.
            Ok(FoundCrate::Itself) => format_ident!("{itself}"),
            Err(_) => continue,
        };
        return Ok(quote!(::#ident));
    }
    Err(Error::new(
        Span::call_site(),
        "can't find the crate `longhaul`: add it to the dependencies in this package's Cargo.toml",
    ))
}
