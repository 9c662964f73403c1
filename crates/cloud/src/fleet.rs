//! What is known of each device beyond its identity: contact, state in one sentence, log.
