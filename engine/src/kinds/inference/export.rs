//! An inference pipeline in the words of servers.

use cost_model::runs::served::Piece;
use exporters::Export;
use exporters::serving::stages::StagesSource;
use ir::diagnostic::Diagnostic;
use ir::id::DeviceId;

use super::setting::Setting;
use crate::answer::energy;

/// The file of a target.
///
/// # Errors
/// Those of the targets.
pub fn exported(
    target: &str,
    (setting, pieces, in_flight): (&Setting, &[Piece], u64),
) -> Result<Export, Diagnostic> {
    let stage = |piece: &Piece| {
        (DeviceId::new(piece.device), piece.blocks.end.saturating_sub(piece.blocks.start))
    };
    let (model, cluster) = (setting.run.model.name.as_str(), &setting.run.cluster);
    let n_devices = cluster.devices.len();
    let stages = pieces.iter().filter(|piece| piece.device < n_devices).map(stage).collect();
    let cache = setting.run.model.stored.as_ref().and_then(|stored| stored.cache);
    let source = StagesSource {
        model,
        cluster,
        stages,
        in_flight,
        cache,
        local: setting.local_source(pieces),
    };
    let mut export = exporters::export(target, &source)?;
    export.warnings.extend(energy::boards_to_limit(&setting.run.request, cluster));
    Ok(export)
}
