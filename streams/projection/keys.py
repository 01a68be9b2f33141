"""Names in Redis. All begin with `{namespace}:v1:`; a rebuild projects beside what is active.

| key | type | holds |
|---|---|---|
| `snapshot:{experiment id}` | hash | `commands`, `version`, `payload` (Avro Snapshot), the newest |
| `experiments` | set | ids of the experiments that have a snapshot |
| `conclusion:{experiment id}` | string | Avro Snapshot as of the conclusion, as the log has it |
| `history:{experiment id}` | hash | `payload` (JSON), `offset` of the last command, `actions` |
| `timeseries:{experiment id}` | hash | Avro TimePoint by second, as the log has them |
| `answer:{command id}` | string, 1 day | JSON answer to a command |
| `receipts:{experiment id}:{phase}:{shard, 4 hex digits}` | hash, expires | first receipts |
| the same, then `:new` | hash, expires | those given out while the memory was not complete |
| `receipts:complete` | string | the server for which it is complete; gone when it was emptied |
| `receipts:lease` | string, seconds | the worker that rebuilds it |
| `receipts:places` | set | experiments and phases that have receipts, as `{id}/{phase}` |
| `receipts:aliases` | set | ids of experiments with units that have two ids |
| `receipts:sets` | set | ids of experiments in which variants were drawn from eligible sets |
| `worker:{worker id}` | string, seconds | a worker whose tables are recovered |
| `workers` | set | ids of the workers that have such a key, or had one a moment ago |
| `schemas` | string | JSON: version of every schema that may be written, as the log says |
| `api:{process id}` | string, seconds | an API process, with what it reads and writes |
| `apis` | set | ids of the API processes that have such a key, or had one a moment ago |
| `exits` | hash | how often processes ended with exit code 70, by kind |
| `projection` | string | drawn when the projection begins; gone or other when Redis was emptied |
| `generation` | hash | `generation` that is active, `epoch` of the change; never by an older |

Snapshots, `experiments` and `projection` belong to one generation of what the workers derive: from
the second on, `g{generation}:` stands before their names. All else is shared.

| channel | message |
|---|---|
| `announce` | experiment id, a space, version; or `generation`, a space, the one now active |
| `answers` | command id |
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of one installation.

    Attributes:
        namespace: Prefix of all names.
        generation: Generation of the names, >= 1.
    """

    namespace: str
    generation: int = 1

    def _name(self, rest: str) -> str:
        return f"{self.namespace}:v1:{rest}"

    def _own(self, rest: str) -> str:
        return self._name(rest if self.generation == 1 else f"g{self.generation}:{rest}")

    @property
    def active_generation(self) -> str:
        """Hash of the active generation."""
        return self._name("generation")

    @property
    def experiments(self) -> str:
        """Set of the ids of all experiments."""
        return self._own("experiments")

    @property
    def announce(self) -> str:
        """Channel of new snapshots."""
        return self._name("announce")

    @property
    def answers(self) -> str:
        """Channel of answered commands."""
        return self._name("answers")

    @property
    def exits(self) -> str:
        """Hash of the numbers of exits of processes that could not continue."""
        return self._name("exits")

    @property
    def workers(self) -> str:
        """Set of the ids of all workers; each heartbeat removes some that are gone."""
        return self._name("workers")

    @property
    def refusal(self) -> str:
        """String: reason why a worker recently refused to run, JSON."""
        return self._name("refusal")

    @property
    def schemas(self) -> str:
        """JSON of the versions of schemas that may be written."""
        return self._name("schemas")

    @property
    def apis(self) -> str:
        """Set of the ids of all API processes; each heartbeat removes some that are gone."""
        return self._name("apis")

    def api(self, process_id: str) -> str:
        """Heartbeat of an API process."""
        return self._name(f"api:{process_id}")

    @property
    def projection(self) -> str:
        """Mark whose presence shows that Redis still holds what was written."""
        return self._own("projection")

    def snapshot(self, experiment_id: str) -> str:
        """Hash of an experiment's snapshot."""
        return self._own(f"snapshot:{experiment_id}")

    def conclusion(self, experiment_id: str) -> str:
        """Snapshot of an experiment as of its conclusion; of no generation, as its record is."""
        return self._name(f"conclusion:{experiment_id}")

    def history(self, experiment_id: str) -> str:
        """Hash of an experiment's history; of no generation, as its records are."""
        return self._name(f"history:{experiment_id}")

    def timeseries(self, experiment_id: str) -> str:
        """Points of the time series of an experiment; of no generation, as their records are."""
        return self._name(f"timeseries:{experiment_id}")

    def answer(self, command_id: str) -> str:
        """Answer to a command."""
        return self._name(f"answer:{command_id}")

    def receipts(self, experiment_id: str, phase: int, shard: int) -> str:
        """Hash of the first receipts of a shard of the units of an experiment."""
        return self._name(f"receipts:{experiment_id}:{phase}:{shard:04x}")

    @property
    def receipts_complete(self) -> str:
        """Mark that no first receipt is missing."""
        return self._name("receipts:complete")

    @property
    def receipts_lease(self) -> str:
        """Worker that rebuilds the first receipts."""
        return self._name("receipts:lease")

    @property
    def receipt_places(self) -> str:
        """Set of the experiments and phases that have first receipts."""
        return self._name("receipts:places")

    @property
    def receipt_aliases(self) -> str:
        """Set of the ids of experiments in which units have two ids."""
        return self._name("receipts:aliases")

    @property
    def receipt_sets(self) -> str:
        """Set of the ids of experiments in which variants were drawn from eligible sets."""
        return self._name("receipts:sets")

    @property
    def receipts_rebuilt(self) -> str:
        """Set of the experiments whose receipts before the lowered share are kept."""
        return self._name("receipts:rebuilt")

    def worker(self, worker_id: str) -> str:
        """Heartbeat of a worker."""
        return self._name(f"worker:{worker_id}")
