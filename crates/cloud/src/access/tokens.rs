//! Tokens of service accounts: exchanged for a secret or a signed assertion, opaque, short-lived.
//!
//! `fkt_` and 64 hexadecimal digits, stored as a keyed hash alone. A token is for one audience, the API or the
//! compatibility routes, and no door but that one knows it. It ends by its time, by revocation, with its credential and
//! with its account, and never allows more than the account does when it is used: nothing is cached.
//! Does not know HTTP.

use std::fmt;

use fieldkeep_protocol::{CredentialId, ProjectId, ServiceId, Timestamp};
use serde_json::json;

use super::api_keys::marked;
use super::assertion::{Algorithm, Assertion, PublicKey};
use super::credentials::note_use;
use super::grant::{Arriving, Holder, SignedIn};
use super::rates::Allowance;
use super::roles::Scopes;
use super::service::{account_of_login, login_of, stored_scopes};
use super::{Access, AccessError, Denied, Failure};
use crate::db::Transaction;
use crate::trail::{Act, Entry, Origin, Outcome, Who, WhoKind};

pub(super) const TOKEN_MARK: &str = "fkt_";
const TOKEN_LENGTH: usize = 4 + 64;
/// How long a token of the API lives.
const LIFE_S: u64 = 15 * 60;
/// How long one of the compatibility routes lives: what clients of that API count on.
const LEGACY_LIFE_S: u64 = 3_600;
const SECOND_US: i64 = 1_000_000;
/// Longer than any client id or secret; more is not hashed.
const PROOF_LONGEST: usize = 256;
/// The setting with `host:port` of the listener for people.
const HTTPS_ENDPOINT: &str = "endpoint.https";

/// Which door a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    Api,
    Legacy,
}

impl Audience {
    fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Legacy => "consibio_v2",
        }
    }

    fn life_s(self) -> u64 {
        match self {
            Self::Api => LIFE_S,
            Self::Legacy => LEGACY_LIFE_S,
        }
    }
}

/// How a service proves who it is. Never printed.
pub enum ClientProof {
    /// A client id and its secret.
    Secret {
        /// The account's id.
        client: String,
        /// The secret.
        secret: String,
    },
    /// A signed assertion.
    Assertion(String),
}

impl fmt::Debug for ClientProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret { .. } => "Secret",
            Self::Assertion(_) => "Assertion",
        })
    }
}

/// A token that was just made.
pub struct IssuedToken {
    /// The token.
    pub token: String,
    /// How long it lives.
    pub expires_in_s: u64,
    /// What it may do at most.
    pub scopes: Scopes,
    /// Whose it is.
    pub account: ServiceId,
    /// The name that the account signs in with where an e-mail is asked for.
    pub login: String,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IssuedToken({})", self.account)
    }
}

/// An account that has proven itself.
struct Proven {
    project: ProjectId,
    account: ServiceId,
    credential: CredentialId,
    scopes: Scopes,
}

impl Proven {
    fn entry(&self, origin: &Origin, act: Act) -> Entry {
        let who = Who::new(WhoKind::Service, self.account, None);
        Entry::new(Some(self.project), who, origin, act).on(self.account)
    }
}

impl Access {
    /// Exchanges a proof for a token of the API. `scope` narrows what the account may do; None takes all of it.
    ///
    /// # Errors
    /// [`AccessError::WrongCredentials`] alike for whatever is wrong with the proof, [`AccessError::ScopesBeyond`] for a
    /// scope that the account does not have, [`AccessError::Throttled`].
    pub async fn issue_token(
        &self,
        proof: &ClientProof,
        scope: Option<&str>,
        source: &str,
        origin: &Origin,
    ) -> Result<IssuedToken, AccessError> {
        let proven = self.proven(proof, source, origin).await?;
        let scopes = match scope {
            None => Some(proven.scopes),
            Some(text) => Scopes::parse(text).filter(|scopes| proven.scopes.cover(*scopes)),
        };
        let Some(scopes) = scopes else {
            let entry = proven.entry(origin, Act::TokenIssue);
            let refused = entry.ended(Outcome::Refused("invalid_scope"));
            self.trail().note(refused);
            return Err(AccessError::ScopesBeyond);
        };
        self.make_token(&proven, scopes, Audience::Api, origin)
            .await
    }

    /// Exchanges an e-mail-shaped name and a secret for a token of the compatibility routes, which reads.
    ///
    /// # Errors
    /// As [`issue_token`](Self::issue_token); also [`AccessError::WrongCredentials`] where the project has them off.
    pub async fn issue_legacy_token(
        &self,
        login: &str,
        secret: &str,
        source: &str,
        origin: &Origin,
    ) -> Result<IssuedToken, AccessError> {
        let client = account_of_login(login).map(|account| account.to_string());
        let proof = ClientProof::Secret {
            client: client.unwrap_or_default(),
            secret: secret.to_owned(),
        };
        let proven = self.proven(&proof, source, origin).await?;
        if !self.legacy_allowed(proven.project).await? {
            let entry = proven.entry(origin, Act::TokenIssue);
            let refused = entry.ended(Outcome::Refused("compatibility_off"));
            self.trail().note(refused);
            return Err(AccessError::WrongCredentials);
        }
        self.make_token(&proven, Scopes::READ, Audience::Legacy, origin)
            .await
    }

    /// Ends a token of the account that proves itself. One that is unknown, ended or of somebody else changes nothing.
    pub async fn revoke_token(
        &self,
        proof: &ClientProof,
        token: &str,
        source: &str,
        origin: &Origin,
    ) -> Result<(), AccessError> {
        let proven = self.proven(proof, source, origin).await?;
        if token.len() == TOKEN_LENGTH {
            let mut transaction = self.0.db.begin().await?;
            transaction
                .execute(
                    "DELETE FROM access_token WHERE hash = $1 AND project = $2 AND account = $3",
                    &[
                        (&self.token_hash(token)).into(),
                        proven.project.as_bytes().into(),
                        proven.account.as_bytes().into(),
                    ],
                )
                .await?;
            let entry = proven.entry(origin, Act::TokenRevoke);
            self.trail().write(&mut transaction, entry).await?;
            transaction.commit().await?;
            tracing::info!(project.id = %proven.project, account.id = %proven.account, "token revoked");
        }
        Ok(())
    }

    /// Who shows a token of the compatibility routes, where its project has them on.
    ///
    /// # Errors
    /// [`Denied::Unauthenticated`] for everything else.
    pub async fn legacy_actor(&self, token: &str, origin: &Origin) -> Result<SignedIn, Denied> {
        self.token_by_secret(token, Audience::Legacy, origin).await
    }

    pub(super) async fn token_by_secret(
        &self,
        token: &str,
        audience: Audience,
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        if token.len() != TOKEN_LENGTH || !token.starts_with(TOKEN_MARK) {
            return Err(Denied::Unauthenticated);
        }
        self.token_holder(self.token_hash(token), audience, origin)
            .await
    }

    /// The holder of a live token of one audience, as it stands now.
    pub(super) async fn token_holder(
        &self,
        token: [u8; 32],
        audience: Audience,
        origin: &Origin,
    ) -> Result<SignedIn, Denied> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT t.project, t.account, t.scopes, c.hint FROM access_token t
                 JOIN service_account a ON a.project = t.project AND a.id = t.account
                 JOIN service_credential c
                   ON c.project = t.project AND c.account = t.account AND c.id = t.credential
                 WHERE t.hash = $1 AND t.audience = $2 AND t.expires_us > $3 AND a.enabled
                   AND c.revoked_us IS NULL AND c.expires_us > $3",
                &[
                    (&token).into(),
                    audience.name().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?
            .ok_or(Denied::Unauthenticated)?;
        let project = ProjectId::from_bytes(row.array(0)?);
        if audience == Audience::Legacy && !self.legacy_allowed(project).await? {
            return Err(Denied::Unauthenticated);
        }
        let holder = Holder::Service {
            project,
            account: ServiceId::from_bytes(row.array(1)?),
            scopes: stored_scopes(row.text(2)?)?,
            token,
            audience,
        };
        Ok(SignedIn::new(holder, row.text(3)?, origin))
    }

    /// The name of the account behind a token, for whoever holds it.
    pub async fn my_service_account(&self, who: &SignedIn) -> Result<Option<String>, Failure> {
        let Holder::Service {
            project, account, ..
        } = &who.holder
        else {
            return Ok(None);
        };
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT name_sealed FROM service_account WHERE project = $1 AND id = $2",
                &[project.as_bytes().into(), account.as_bytes().into()],
            )
            .await?;
        let Some(row) = row else {
            return Ok(None);
        };
        let key = self.project_key(*project).await?;
        let name = key.open_text("service_account.name", account.as_bytes(), row.bytes(0)?)?;
        Ok(Some(name))
    }

    /// The time by which tokens begin and end.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The name that a service account signs in with where an e-mail is asked for.
    pub fn service_login(&self, account: ServiceId) -> String {
        login_of(account)
    }

    /// Takes one request of a key's or a service account's quota; None for people, who have none.
    ///
    /// # Errors
    /// How many seconds until there is one.
    pub fn take_request_arriving(&self, who: &Arriving) -> Result<Option<Allowance>, u64> {
        self.take_request(&who.0)
    }

    /// The same, for whoever is in.
    pub fn take_request(&self, who: &SignedIn) -> Result<Option<Allowance>, u64> {
        match &who.holder {
            Holder::Person { .. } => Ok(None),
            Holder::ApiKey { key, .. } => self.take_of(1, key.as_bytes()).map(Some),
            Holder::Service { account, .. } => self.take_of(2, account.as_bytes()).map(Some),
        }
    }

    fn take_of(&self, kind: u8, id: &[u8; 16]) -> Result<Allowance, u64> {
        let mut name = [0; 32];
        name[0] = kind;
        name[16..].copy_from_slice(id);
        self.0.requests.take(name, self.0.clock.elapsed())
    }

    /// What stands before paths in addresses of this instance, such as `https://cloud.example.org:8443`; None before a
    /// server has ever listened.
    pub async fn issuer(&self) -> Result<Option<String>, Failure> {
        let endpoint = self.0.db.setting(HTTPS_ENDPOINT).await?;
        Ok(endpoint.map(|endpoint| format!("https://{endpoint}")))
    }

    /// The account that a proof is of. Attempts that fail count against the client and against where they come from.
    async fn proven(
        &self,
        proof: &ClientProof,
        source: &str,
        origin: &Origin,
    ) -> Result<Proven, AccessError> {
        let assertion = match proof {
            ClientProof::Secret { .. } => None,
            ClientProof::Assertion(text) => {
                Some(Assertion::read(text).ok_or(AccessError::WrongCredentials)?)
            }
        };
        let client = match (proof, &assertion) {
            (_, Some(assertion)) => assertion.client(),
            (ClientProof::Secret { client, .. }, None) => client,
            (ClientProof::Assertion(_), None) => return Err(AccessError::WrongCredentials),
        };
        if client.len() > PROOF_LONGEST {
            return Err(AccessError::WrongCredentials);
        }
        let counted = self.count_attempt(client, source)?;
        let account: ServiceId = client.parse().map_err(|_| AccessError::WrongCredentials)?;
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT project, scopes FROM service_account WHERE id = $1 AND enabled",
                &[account.as_bytes().into()],
            )
            .await?
            .ok_or(AccessError::WrongCredentials)?;
        let project = ProjectId::from_bytes(row.array(0)?);
        let scopes = stored_scopes(row.text(1)?)?;
        let credential = match (proof, assertion) {
            (ClientProof::Secret { secret, .. }, _) => {
                self.secret_of(project, account, secret).await?
            }
            (ClientProof::Assertion(_), Some(assertion)) => {
                self.key_of(project, account, &assertion).await?
            }
            (ClientProof::Assertion(_), None) => None,
        };
        let Some(credential) = credential else {
            tracing::info!(project.id = %project, account.id = %account, "proof of a service account refused");
            let entry = Entry::new(Some(project), Who::nobody(), origin, Act::TokenIssue)
                .on(account)
                .ended(Outcome::Refused("invalid_client"));
            self.trail().note(entry);
            return Err(AccessError::WrongCredentials);
        };
        for (rates, name) in counted {
            rates.give_back(name);
        }
        Ok(Proven {
            project,
            account,
            credential,
            scopes,
        })
    }

    fn count_attempt(
        &self,
        client: &str,
        source: &str,
    ) -> Result<[(&super::rates::Rates, [u8; 32]); 2], AccessError> {
        let key = self.0.keys.instance();
        let source = key.lookup("throttle.source", source.as_bytes());
        let client = key.lookup("throttle.client", client.as_bytes());
        let now = self.0.clock.elapsed();
        let counted = [
            (&self.0.attempts_source, source),
            (&self.0.attempts_client, client),
        ];
        for (rates, name) in counted {
            rates
                .take(name, now)
                .map_err(|retry_after_s| AccessError::Throttled { retry_after_s })?;
        }
        Ok(counted)
    }

    async fn secret_of(
        &self,
        project: ProjectId,
        account: ServiceId,
        secret: &str,
    ) -> Result<Option<CredentialId>, Failure> {
        if secret.len() > PROOF_LONGEST {
            return Ok(None);
        }
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT id FROM service_credential WHERE hash = $1 AND project = $2 AND account = $3
                 AND revoked_us IS NULL AND expires_us > $4",
                &[
                    (&self.secret_hash(secret)).into(),
                    project.as_bytes().into(),
                    account.as_bytes().into(),
                    self.0.clock.now().as_micros().into(),
                ],
            )
            .await?;
        Ok(row
            .map(|row| row.array(0).map(CredentialId::from_bytes))
            .transpose()?)
    }

    /// The registered key that signed an assertion, which is spent by this.
    async fn key_of(
        &self,
        project: ProjectId,
        account: ServiceId,
        assertion: &Assertion<'_>,
    ) -> Result<Option<CredentialId>, Failure> {
        let Some(issuer) = self.issuer().await? else {
            return Ok(None);
        };
        let audiences = [format!("{issuer}/oauth/token"), issuer];
        let now = self.0.clock.now().as_micros();
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT id, kind, public_key FROM service_credential
                 WHERE project = $1 AND account = $2 AND public_key IS NOT NULL
                   AND revoked_us IS NULL AND expires_us > $3",
                &[
                    project.as_bytes().into(),
                    account.as_bytes().into(),
                    now.into(),
                ],
            )
            .await?;
        let mut signer = None;
        for row in &rows {
            let key = PublicKey {
                algorithm: Algorithm::from_name(row.text(1)?)
                    .ok_or(Failure::Unknown("service_credential.kind"))?,
                bytes: row.bytes(2)?.to_vec(),
            };
            if assertion.holds(&key, &audiences, now.div_euclid(SECOND_US)) {
                signer = Some(CredentialId::from_bytes(row.array(0)?));
                break;
            }
        }
        let Some(signer) = signer else {
            return Ok(None);
        };
        let mut once = account.as_bytes().to_vec();
        once.extend_from_slice(assertion.jti().as_bytes());
        let once = self
            .0
            .keys
            .instance()
            .lookup("service_assertion.jti", &once);
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "DELETE FROM service_assertion WHERE expires_us <= $1",
                &[now.into()],
            )
            .await?;
        let fresh = transaction
            .fetch_optional(
                "INSERT INTO service_assertion (hash, expires_us) VALUES ($1, $2)
                 ON CONFLICT DO NOTHING RETURNING expires_us",
                &[
                    (&once).into(),
                    assertion.forget_s().saturating_mul(SECOND_US).into(),
                ],
            )
            .await?;
        transaction.commit().await?;
        Ok(fresh.map(|_| signer))
    }

    async fn make_token(
        &self,
        proven: &Proven,
        scopes: Scopes,
        audience: Audience,
        origin: &Origin,
    ) -> Result<IssuedToken, AccessError> {
        let token = marked(TOKEN_MARK);
        let now = self.0.clock.now();
        // A token costs a request of the account's quota, so that nobody fills the table.
        self.take_of(2, proven.account.as_bytes())
            .map_err(|retry_after_s| AccessError::Throttled { retry_after_s })?;
        let mut transaction = self.0.db.begin().await?;
        self.write_token(&mut transaction, &token, proven, scopes, audience, now)
            .await?;
        note_use(
            &mut transaction,
            proven.project,
            proven.account,
            proven.credential,
            now,
        )
        .await?;
        let entry = proven.entry(origin, Act::TokenIssue).new_value(json!({
            "credential": proven.credential.to_string(),
            "scope": scopes.to_string(),
            "for": audience.name(),
        }));
        self.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %proven.project, account.id = %proven.account, audience = audience.name(),
            "token issued");
        Ok(IssuedToken {
            token,
            expires_in_s: audience.life_s(),
            scopes,
            account: proven.account,
            login: login_of(proven.account),
        })
    }

    async fn write_token(
        &self,
        transaction: &mut Transaction,
        token: &str,
        proven: &Proven,
        scopes: Scopes,
        audience: Audience,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let life_us = i64::try_from(audience.life_s()).unwrap_or(0) * SECOND_US;
        transaction
            .execute(
                "DELETE FROM access_token WHERE expires_us <= $1",
                &[now.as_micros().into()],
            )
            .await?;
        transaction
            .execute(
                "INSERT INTO access_token
                     (hash, project, account, credential, audience, scopes, created_us, expires_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                &[
                    (&self.token_hash(token)).into(),
                    proven.project.as_bytes().into(),
                    proven.account.as_bytes().into(),
                    proven.credential.as_bytes().into(),
                    audience.name().into(),
                    scopes.to_string().as_str().into(),
                    now.as_micros().into(),
                    now.as_micros().saturating_add(life_us).into(),
                ],
            )
            .await?;
        Ok(())
    }

    fn token_hash(&self, token: &str) -> [u8; 32] {
        self.0
            .keys
            .instance()
            .lookup("access_token.hash", token.as_bytes())
    }
}
