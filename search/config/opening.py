"""`OpenExperiment`: an experiment with its tables, device, problem and data, each opened once in a process.

:func:`resolve` makes one from a run file; a worker makes one of the experiment that it reads from the study.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from boostformer import presets
from boostformer.architecture import Architecture
from boostformer.data.cache import data_cache
from boostformer.errors import UserError, nearest
from boostformer.files import is_file
from boostformer.start import Trained, read_trained
from evaluators.costs.budget import Budget
from evaluators.costs.table import CostTable
from evaluators.latency.additive import Additive
from evaluators.latency.backend import Backend
from evaluators.proxy import Proxy
from results.trial import START
from search.config.experiment import Experiment, First, Start, versions
from search.config.named import read_architecture
from search.config.problem import Key, Problem, figure_of
from search.config.run_file import RunFile, read_run_file
from search.config.timing import Timing
from search_space import SearchSpace, read_space, shipped_spaces, space_at
from search_space.nearness import nearest_genes


class OpenExperiment:
    """An experiment in use by this process. Each part is opened when it is first asked for, and shared from here."""

    def __init__(
        self,
        experiment: Experiment,
        *,
        table: CostTable | None = None,
        proxy: Proxy | None = None,
        backend: Backend | None = None,
        start: Trained | None = None,
    ) -> None:
        """Take over the parts that are open already.

        Args:
            experiment: the experiment.
            table: costs, counted as the experiment counts them.
            proxy: the evaluator on the experiment's data.
            backend: the device of the experiment's latency.
            start: the trained network that the experiment begins with.
        """
        self.experiment = experiment
        self._table, self._proxy, self._backend, self._start = table, proxy, backend, start

    def having_screened(self, networks: Sequence[dict[str, Any]]) -> OpenExperiment:
        """Give the same search, which has screened these networks; as ``Architecture.to_dict`` writes them."""
        if tuple(networks) == self.experiment.screened:
            return self
        experiment = self.experiment.model_copy(update={"screened": tuple(networks)})
        return OpenExperiment(experiment, table=self.table, proxy=self.proxy, backend=self.backend, start=self.start)

    @cached_property
    def table(self) -> CostTable:
        return self._table or CostTable(deployed=self.experiment.is_deployed)

    @cached_property
    def backend(self) -> Backend | None:
        """The device of the latency; :class:`UserError` when a table's figures have changed since the run began."""
        timing = self.experiment.latency
        return self._backend or (timing.open() if timing is not None else None)

    @cached_property
    def problem(self) -> Problem:
        experiment = self.experiment
        latency = self.backend if isinstance(self.backend, Additive) else None
        return Problem(experiment.space, experiment.objectives, experiment.budget, self.table, latency)

    @cached_property
    def start(self) -> Trained | None:
        """The trained network that the search begins with; :class:`UserError` when it is away, or another now."""
        known = self.experiment.start
        if known is None:
            return None
        found = self._start or read_trained(known.place)
        if found.digest != known.weights:
            raise UserError(
                f"{known.place}: its weights are not those that the search began with; put those back, or begin "
                "another search"
            )
        return found

    @cached_property
    def start_key(self) -> Key | None:
        """The genes of the start, or of the network of the space that is most like it; None without a start."""
        known, space = self.experiment.start, self.experiment.space
        if known is None:
            return None
        return nearest_genes(space, Architecture.from_dict(known.architecture, known.place))

    @cached_property
    def proxy(self) -> Proxy:
        """The evaluator; :class:`UserError` when the data have changed since the search began."""
        found = self._proxy or open_proxy(self.experiment)
        labels, images = tuple(found.labels), image_counts(found)
        known = self.experiment
        if (labels, images) != (known.labels, known.images):
            raise UserError(
                f"{known.data.root or known.data.kind}: holds other data than when the search began: {images} images "
                f"of {len(labels)} classes, allowed: {known.images} of {len(known.labels)}"
            )
        if changed := [split for split, digest in found.content.items() if known.content.get(split) != digest]:
            raise UserError(
                f"{known.data.root or known.data.kind}: the {' and '.join(changed)} images or masks are not those that "
                "the search began with, so new scores could not be compared with its own; put those back, or begin "
                "another search"
            )
        return found


def resolve(path: Path, earlier: Experiment | None = None, *, force: bool = False) -> tuple[OpenExperiment, int]:
    """Resolve a run file: the experiment, opened and checked, and how many networks it asks for.

    Args:
        path: the run file.
        earlier: the experiment made of it before, if any; a board that it names need not be at hand now.
        force: whether a latency table may be used whose calibration fails; one that was used before may.

    Raises:
        UserError: something is wrong with the file, the space, the data, the device or the budgets.
    """
    file = read_run_file(path)
    config, top = file.config, file.top
    name, space = _space(file)
    try:
        proxy = Proxy(config.data, config.proxy.recipe(), data_cache(), config.proxy.rungs)
    except UserError as error:
        raise top.at("data").error(str(error)) from None
    try:
        space = space.replace(size=config.data.size, classes=len(proxy.labels), bands=proxy.bands)
    except UserError as error:
        raise top.at("space").error(f"{name} {error}") from None
    start, first = _start(file), _first(file, space, earlier)
    table = CostTable(deployed=config.budgets.counted == "deployed")
    timing, backend = _timing(file, earlier)
    experiment = Experiment(
        space_name=name,
        data=config.data,
        labels=tuple(proxy.labels),
        images=image_counts(proxy),
        content=proxy.content,
        objectives=tuple(config.objectives),
        budgets=dict(_budget(file, table, space, start).limits),
        counted=config.budgets.counted,
        latency=timing,
        search=config.search.of_experiment(),
        inherit=config.search.inherits,
        start=None
        if start is None
        else Start(place=start.id, weights=start.digest, architecture=start.architecture.to_dict()),
        first=first,
        screened=earlier.screened if earlier is not None else (),
        proxy=config.proxy,
        space=space,
        versions=versions(),
    )
    opened = OpenExperiment(experiment, table=table, proxy=proxy, backend=backend, start=start)
    _check(opened, file)
    if not force and (earlier is None or earlier.latency != timing):
        _check_latency(opened, file)
    return opened, config.search.trials


def _start(file: RunFile) -> Trained | None:
    if (place := file.config.search.start) is None:
        return None
    try:
        return read_trained(place)
    except UserError as error:
        raise file.top.at("search", "start").error(str(error)) from None


def _first(file: RunFile, space: SearchSpace, earlier: Experiment | None) -> tuple[First, ...]:
    """Read the networks that are proposed first, unless the search that goes on has them by the same names."""
    names = file.config.search.first
    if earlier is not None and tuple(found.place for found in earlier.first) == names:
        return earlier.first
    found = []
    for number, name in enumerate(names):
        try:
            arch = read_architecture(name).replace(size=space.size, classes=space.classes, bands=space.bands)
            space.encode([arch])
        except UserError as error:
            raise file.top.at("search", "first", number).error(f"{name}: {error}") from None
        found.append(First(place=name, architecture=arch.to_dict()))
    return tuple(found)


def _space(file: RunFile) -> tuple[str, SearchSpace]:
    """Read the run's space, and name it: a space that stands in the run file by that."""
    given, place = file.config.space, file.top.at("space")
    if not isinstance(given, str):
        return Path(file.top.source).name, space_at(place)
    if given not in shipped_spaces() and not is_file(given):
        raise place.error(f"'{given}' is neither a file nor a shipped space; {nearest(given, shipped_spaces())}")
    return given, read_space(given)


def _check(opened: OpenExperiment, file: RunFile) -> None:
    """Raise :class:`UserError` unless the device knows every network's latency and some network fits the budgets."""
    space = opened.experiment.space
    try:
        if opened.problem.latency is not None:
            opened.problem.latency.prepare(space.slots, next(iter(space)))
    except UserError as error:
        raise file.top.at("latency", "device").error(str(error)) from None
    try:
        opened.problem.check_reachable()
    except UserError as error:
        raise file.top.at("budgets").error(str(error).removeprefix("budgets: ")) from None
    for number, first in enumerate(opened.experiment.first):
        if over := opened.problem.excesses(first.network):
            raise file.top.at("search", "first", number).error(f"{first.place} is over the budgets: {over}")


def _check_latency(opened: OpenExperiment, file: RunFile) -> None:
    """Raise :class:`UserError` where the device's predictions are known to be bad."""
    latency = opened.problem.latency
    if latency is not None and (doubts := latency.doubts()):
        remedy = "profile and calibrate again on a quiet machine, or search with --force"
        raise file.top.at("latency", "device").error(f"{doubts}; {remedy}")


def _timing(file: RunFile, earlier: Experiment | None) -> tuple[Timing | None, Backend | None]:
    """Describe and open the run's device, if it has one."""
    if file.config.latency is None:
        return None, None
    try:
        return Timing.of(file.config.latency.device, earlier.latency if earlier else None)
    except UserError as error:
        raise file.top.at("latency", "device").error(str(error)) from None


def _budget(file: RunFile, table: CostTable, space: SearchSpace, start: Trained | None) -> Budget:
    """Resolve the limits; shares refer to a baseline at the run's size and for its classes.

    Args:
        file: the run file.
        table: counts costs.
        space: has size and classes.
        start: the network that the search begins with, if any.
    """
    budgets = file.config.budgets
    baseline: Architecture | None = None
    if budgets.baseline == START and start is not None:
        baseline = start.architecture.replace(classes=space.classes, size=space.size, bands=space.bands)
    elif budgets.baseline is not None:
        baseline = presets.load(budgets.baseline, classes=space.classes, size=space.size, bands=space.bands)
    limits: list[tuple[str, float]] = []
    for name, limit in budgets.limits.items():
        try:
            share_of = figure_of(baseline, name, table) if limit.is_share and baseline is not None else 0
            limits.append((name, limit.resolve(share_of)))
        except ValueError as error:
            raise file.top.at("budgets", name).error(str(error)) from None
    return Budget(tuple(limits))


def open_proxy(experiment: Experiment) -> Proxy:
    """Open the data of an experiment."""
    return Proxy(experiment.data, experiment.proxy.recipe(), data_cache(), experiment.proxy.rungs)


def image_counts(proxy: Proxy) -> dict[str, int]:
    return {"training": len(proxy.training), "validation": len(proxy.validation)}
