//! Files that a plan was made from: stated beside it when it is written, found by verbs that read it.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use documents::plan::inputs::InputsDocument;
use engine::answer::files::{artifact, input_file};
use engine::inputs::TABLES;
use engine::inputs::plan_file;
use engine::request::{
    CompareRequest, OpenRequest, PlanOnModel, PlanRequest, ProblemRequest, ReplayRequest,
};
use ir::diagnostic::Diagnostic;

/// What a plan file that is written for a request states; `None` where a path can't be stated, or nothing may
/// depend on where files are.
pub(crate) fn of(request: &PlanRequest, output: Option<&Path>) -> Option<InputsDocument> {
    let place = artifact::resolved(output?).filter(|_| !request.limits.deterministic)?;
    let stated = |file: &Path| relative(file, place.parent()?);
    let problem = &request.problem;
    let optional =
        |file: &Option<PathBuf>| file.as_deref().map_or(Some(None), |path| stated(path).map(Some));
    Some(InputsDocument {
        model: Some(stated(&request.model)?),
        cluster: optional(&problem.cluster)?,
        profile: match problem.profile.as_deref().and_then(Path::to_str) {
            Some(tables) if tables.starts_with(TABLES) => Some(tables.to_owned()),
            _ => optional(&problem.profile)?,
        },
        traces: problem.model.traces.iter().map(|trace| stated(trace)).collect::<Option<_>>()?,
        scale: problem.scale.clone(),
    })
}

/// A path from a folder without links; the file itself may be one, and may be written as `FILE#NAME`.
fn relative(file: &Path, folder: &Path) -> Option<String> {
    let plain = input_file::plain(file);
    let above =
        plain.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let absolute = match plain.file_name() {
        Some(name) => above.canonicalize().ok()?.join(name),
        None => plain.canonicalize().ok()?,
    };
    absolute.metadata().ok()?;
    let n_shared =
        absolute.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(n_shared).map(|_| OsStr::new(".."));
    let down = absolute.components().skip(n_shared).map(Component::as_os_str);
    let names: Option<Vec<&str>> = up.chain(down).map(OsStr::to_str).collect();
    let path = names.filter(|names| !names.is_empty())?.join("/");
    let name = file.to_str()?.strip_prefix(plain.to_str()?)?;
    (n_shared > 0).then(|| path + name)
}

/// What a plan file states.
struct Stated<'p> {
    plan: &'p Path,
    inputs: InputsDocument,
}

impl<'p> Stated<'p> {
    fn of(plan: &'p Path) -> Option<Self> {
        let text = input_file::read(plan, plan_file::LONGEST_FILE).ok()?;
        let inputs = InputsDocument::stated_by(&text)?;
        Some(Self { plan, inputs })
    }

    /// The file that a member states.
    fn file(&self, stated: &str) -> Option<PathBuf> {
        let above = self.plan.parent().unwrap_or(Path::new(""));
        let file = above.join(stated);
        let found = input_file::plain(&file).metadata().ok()?;
        // A file of no length may be a device's.
        let is_whole = found.is_dir() || (found.is_file() && found.len() > 0);
        (Path::new(stated).is_relative() && is_whole).then_some(file)
    }

    fn needed(&self, (what, flag): (&str, &str), stated: &str) -> Result<PathBuf, Diagnostic> {
        self.file(stated).ok_or_else(|| {
            let plan = self.plan.display();
            let message = format!("the {what} that `{plan}` was made from is not there");
            Diagnostic::input("moved-input", message)
                .fact("stated", stated)
                .hint(format!("name it with {flag} FILE"))
        })
    }

    /// Fills in what the command line does not name; the model, if there is one.
    fn fill(
        &self,
        model: Option<&Path>,
        problem: &mut ProblemRequest,
    ) -> Result<Option<PathBuf>, Diagnostic> {
        let inputs = &self.inputs;
        let is_named = |name: &str| problem.given.iter().any(|given| given == name);
        let found = |what, stated: &Option<String>| {
            stated.as_ref().map(|path| self.needed(what, path)).transpose()
        };
        if !is_named("profile") {
            let tables = inputs.profile.as_deref().filter(|stated| stated.starts_with(TABLES));
            problem.profile = match tables {
                Some(tables) => Some(tables.into()),
                None => found(("profile", "--profile"), &inputs.profile)?,
            };
        }
        if !is_named("cluster") {
            let cluster = found(("cluster file", "--cluster"), &inputs.cluster);
            problem.cluster = match problem.cluster.take() {
                // That of the environment, where the plan's is gone.
                Some(usual) => cluster.ok().flatten().or(Some(usual)),
                None => cluster?,
            };
            if problem.scale.is_empty() {
                problem.scale.clone_from(&inputs.scale);
            }
        }
        if let Some(model) = model {
            return Ok(Some(model.to_owned()));
        }
        if problem.model.traces.is_empty() {
            let traces = inputs.traces.iter().map(|trace| self.needed(("trace", "--trace"), trace));
            problem.model.traces = traces.collect::<Result<_, _>>()?;
        }
        found(("model", "--model"), &inputs.model)
    }
}

/// A plan on the model that is named, else on the one that it states; so for cluster and profile.
///
/// # Errors
/// `no-model` where neither names one, `moved-input`, and those of reading the plan.
pub(crate) fn on(
    plan: &Path,
    model: Option<&Path>,
    mut target: ReplayRequest,
) -> Result<PlanOnModel, Diagnostic> {
    let model = match Stated::of(plan) {
        Some(stated) => stated.fill(model, &mut target.problem)?,
        None => model.map(Path::to_owned),
    };
    let Some(model) = model else {
        plan_file::document(plan)?;
        let message = format!("`{}` does not state its model", plan.display());
        return Err(Diagnostic::usage("no-model", message).hint("add --model MODEL"));
    };
    Ok(PlanOnModel { plan: plan.to_owned(), model, target })
}

/// A plan that is shown, on the inputs that it states; `None` where these are not to be found.
pub(crate) fn shown(request: &OpenRequest) -> Option<OpenRequest> {
    let mut copy = request.clone();
    copy.model = Stated::of(&request.plan)?.fill(copy.model.as_deref(), &mut copy.problem).ok()?;
    copy.model.is_some().then_some(copy)
}

/// Two plans on the inputs that both state, where they are the same files; `None` where that names nothing.
pub(crate) fn compared(request: &CompareRequest) -> Option<CompareRequest> {
    let filled = |stated: Stated<'_>| {
        let mut copy = request.clone();
        copy.model = stated.fill(copy.model.as_deref(), &mut copy.target.problem).ok()?;
        copy.model.is_some().then_some(copy)
    };
    let place = |file: &Option<PathBuf>| file.as_deref().and_then(artifact::resolved);
    let places = |request: &CompareRequest| {
        let problem = &request.target.problem;
        ([&request.model, &problem.cluster, &problem.profile].map(place), problem.scale.clone())
    };
    let sides = [&request.a, &request.b].into_iter().filter_map(|plan| Stated::of(plan));
    let sides: Vec<CompareRequest> = sides.map(filled).collect::<Option<_>>()?;
    let is_same = sides.windows(2).all(|pair| places(&pair[0]) == places(&pair[1]));
    sides.into_iter().next().filter(|_| is_same)
}
