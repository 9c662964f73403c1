//! Mounts both front doors on their listeners.
