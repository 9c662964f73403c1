//! `fieldkeep admin recovery-kit`: one page to print, with the only copy of the recovery key's secret there will ever be.

use qrcode::{EcLevel, QrCode};
use serde_json::json;

use super::Failure;
use crate::access::{self, Task};
use crate::backup::{BackupError, NewRecoveryKey};
use crate::clock::rfc3339;
use crate::serve::Base;

/// The recovery key on one page, to be printed and kept apart from this machine; its secret is shown this once
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: fieldkeep admin recovery-kit --data DIR > kit.txt, print it, delete the file, then: fieldkeep \
                  admin recovery-kit --confirm --data DIR"
)]
pub(super) struct Arguments {
    /// The page is on paper and kept apart: say so, and the reminders end
    #[arg(long, conflicts_with = "replace")]
    confirm: bool,
    /// Make a new key although there is one; backups made before still need the old one
    #[arg(long)]
    replace: bool,
}

pub(super) async fn run(
    base: &Base,
    arguments: Arguments,
) -> Result<super::admin::Answer, Failure> {
    let task = access::system(Task::AdminCommand);
    let operator = task.operator();
    if arguments.confirm {
        let id = base.backup.confirm_recovery_key(&operator).await?;
        return Ok(super::admin::Answer {
            text: format!("The recovery key {id} is noted as kept on paper."),
            json: json!({ "recovery_key_id": id, "confirmed": true }),
        });
    }
    let key = base
        .backup
        .make_recovery_key(&operator, arguments.replace)
        .await?;
    let instance = base.keys.instance_id().to_string();
    let made = rfc3339::format(base.clock.now());
    Ok(super::admin::Answer {
        text: page(&key, &instance, &made)?,
        json: json!({
            "recovery_key_id": key.id, "recovery_key": key.secret.as_str(), "instance": instance, "confirmed": false,
        }),
    })
}

fn page(key: &NewRecoveryKey, instance: &str, made: &str) -> Result<String, BackupError> {
    // Upper case letters, digits and a dash: the compact alphabet of QR codes.
    let code = QrCode::with_error_correction_level(key.secret.as_bytes(), EcLevel::M)
        .map_err(|_| BackupError::NotARecoveryKey)?;
    let picture = code
        .render::<qrcode::render::unicode::Dense1x2>()
        .dark_color(qrcode::render::unicode::Dense1x2::Dark)
        .light_color(qrcode::render::unicode::Dense1x2::Light)
        .build();
    Ok(format!(
        "FIELDKEEP RECOVERY KIT\n\n\
         Instance      {instance}\n\
         Recovery key  {id}\n\
         Made          {made}\n\n\
         {secret}\n\n{picture}\n\n\
         This line opens every backup of the instance. It is stored nowhere else and cannot be shown again.\n\
         Print this page, keep it apart from the machine and from the backups, and then say so:\n\
         \x20 fieldkeep admin recovery-kit --confirm --data DIR\n\n\
         To restore, on any machine with fieldkeep:\n\
         \x20 1. Copy the newest fieldkeep-{short}-…-data.age and fieldkeep-{short}-…-keys.age into one folder.\n\
         \x20 2. fieldkeep restore --from FOLDER --data NEWDIR --master-key NEWFILE --recovery-key -\n\
         \x20    and type the line above (or scan the code), then Ctrl-D.\n\
         \x20 3. fieldkeep serve --data NEWDIR --master-key NEWFILE --name HOST, under the name that loggers know.\n\
         \x20 4. fieldkeep admin doctor --data NEWDIR --master-key NEWFILE. Loggers send again what the backup lacks.",
        id = key.id,
        secret = key.secret.as_str(),
        short = instance.get(..8).unwrap_or_default(),
    ))
}
