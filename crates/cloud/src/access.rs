//! People, sessions, keys, memberships, roles and the grants that prove them.
