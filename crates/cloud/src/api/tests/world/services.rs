//! Service accounts of the world, their tokens, and codes.

use fieldkeep_protocol::{CredentialId, ServiceId};

use super::World;
use crate::access::{
    ClientProof, Locations, NewCredential, NewServiceAccount, Scopes, Task, system,
};
use crate::trail::Origin;

impl World {
    /// A service account of ours with a secret.
    pub(in crate::api::tests) async fn service(
        &self,
        scopes: Scopes,
    ) -> (ServiceId, CredentialId, String) {
        let session = system(Task::AdminCommand).project(self.ours.project);
        let grant = session.grant();
        let new = NewServiceAccount {
            name: "pump".to_owned(),
            scopes,
            locations: Locations::All,
        };
        let access = &self.access;
        let made = access.create_service_account(&grant, new).await.unwrap();
        let secret = NewCredential::Secret { others_end: None };
        let (credential, secret) = access
            .add_credential(&grant, made.id, secret, None)
            .await
            .unwrap();
        (made.id, credential.id, secret.unwrap())
    }

    /// One account for each set of scopes, whose tokens stand for all services with these.
    async fn standing_service(&self, scopes: Scopes) -> (ServiceId, String) {
        let mut services = self.services.lock().await;
        let known = services.iter().find(|(known, ..)| *known == scopes);
        if let Some((_, account, secret)) = known {
            return (*account, secret.clone());
        }
        let (account, _, secret) = self.service(scopes).await;
        services.push((scopes, account, secret.clone()));
        (account, secret)
    }

    /// A token of a service account of ours.
    pub(in crate::api::tests) async fn token(&self, scopes: Scopes) -> String {
        let (account, secret) = self.standing_service(scopes).await;
        let proof = ClientProof::Secret {
            client: account.to_string(),
            secret,
        };
        let issued = self
            .access
            .issue_token(&proof, None, "test", &Origin::here())
            .await;
        issued.unwrap().token
    }

    /// A token of the compatibility routes of ours, which are on from now on.
    pub(in crate::api::tests) async fn legacy_token(&self) -> String {
        let session = system(Task::AdminCommand).project(self.ours.project);
        let grant = session.grant();
        self.access.set_compatibility(&grant, true).await.unwrap();
        let (account, secret) = self.standing_service(Scopes::READ).await;
        let login = self.access.service_login(account);
        let issued = self
            .access
            .issue_legacy_token(&login, &secret, "test", &Origin::here())
            .await;
        issued.unwrap().token
    }

    /// A short code with which a program asks.
    pub(in crate::api::tests) async fn user_code(&self) -> String {
        let asked = self
            .access
            .ask_by_device("a test", "192.0.2.7", &Origin::here())
            .await;
        asked.unwrap().user_code
    }
}
