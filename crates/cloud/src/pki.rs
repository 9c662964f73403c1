//! Certificate authorities, device identity, enrolment, renewal, the one verifier.
