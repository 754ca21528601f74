//! Longhaul on RabbitMQ: quorum queues, publisher confirms, delays up to 8.5 years.
