//! `keywheel vault status`.

use keywheel_engine::NEEDS_PASSPHRASE;
use keywheel_engine::view::VaultView;

use crate::cmd::{Context, host};
use crate::errors::Failure;
use crate::exit_code::ExitCode;
use crate::output::{Style, Table, Text};

/// # Errors
/// The state cannot be opened.
pub(crate) async fn run(context: &Context) -> Result<ExitCode, Failure> {
    let vault = host::open_vault_to_look(context).await?.vault_view().await?;
    context.output.data(&vault, |style| text(&vault, style))?;
    Ok(if vault.sealed && !vault.needs_passphrase {
        ExitCode::Attention
    } else {
        ExitCode::Ok
    })
}

/// The vault, for people.
pub(crate) fn text(vault: &VaultView, style: Style) -> String {
    let mut text = Text::default();
    text.fact("kind", vault.kind);
    text.fact(
        "state",
        if vault.needs_passphrase {
            NEEDS_PASSPHRASE.to_owned()
        } else if vault.sealed {
            style.attention("sealed")
        } else {
            style.good("open")
        },
    );
    text.fact("restore epoch", vault.epoch.0);
    text.line("");
    let mut table = Table::new(["SLOT", "KIND"]);
    for (kind, id) in &vault.slots {
        table.row([id.clone(), kind.clone()]);
    }
    text.lines(&table.to_text(style));
    text.finish()
}
