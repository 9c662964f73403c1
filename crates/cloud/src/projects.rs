//! Projects, locations, elements, deployments.
