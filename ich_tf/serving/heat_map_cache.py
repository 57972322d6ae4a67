"""Heat maps of finished studies: drawn by the model's thread on request, kept compressed."""

from __future__ import annotations

import gzip
import threading
import time
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from ich_tf.inference.explainer import Explainer
from ich_tf.inference.slice_predictor import Predictor
from ich_tf.serving import analysis
from ich_tf.serving.errors import Refused
from ich_tf.serving.limits import MIB, Limits
from ich_tf.serving.model_thread import ModelThread
from ich_tf.serving.monitoring import Monitor
from ich_tf.serving.studies import Studies
from ich_tf.serving.study import PredictedSeries, UploadedStudy

# Level 6 takes three times as long for a tenth less.
GZIP_LEVEL = 1


@dataclass(frozen=True)
class PackedHeatMap:
    """A heat map, compressed for sending.

    Attributes:
      packed: Values, uint8 [rows, columns], compressed by gzip.
      rows, columns: Number of pixels of the slice.
      scale, greatest, caption: As in `analysis.HeatMap`.
    """

    packed: bytes
    rows: int
    columns: int
    scale: float
    greatest: float
    caption: str

    def unpacked(self) -> np.ndarray:
        """Decompresses the values, uint8 [rows, columns]."""
        values = np.frombuffer(gzip.decompress(self.packed), np.uint8)
        return values.reshape(self.rows, self.columns)


# Key of the study, indices of series and slice, class.
_Key = tuple[str, int, int, str]


class HeatMapCache:
    """Draws heat maps, each once as long as it is in the cache."""

    def __init__(
        self,
        predictor: Predictor,
        explainer: Explainer,
        studies: Studies,
        model: ModelThread,
        limits: Limits,
        monitor: Monitor,
    ) -> None:
        """Stores its arguments.

        Args:
          predictor: Model to explain.
          explainer: Explainer of that model.
          studies: Studies of the server.
          model: Thread that owns the model.
          limits: Limits of the server.
          monitor: Counters to update.
        """
        self._predictor, self._explainer = predictor, explainer
        self._studies, self._model = studies, model
        self._limits, self._monitor = limits, monitor
        self._heat_maps: OrderedDict[_Key, PackedHeatMap] = OrderedDict()
        self._under_way: dict[_Key, Future[PackedHeatMap]] = {}
        self._lock = threading.Lock()

    def get(self, study: UploadedStudy, series: int, number: int, name: str) -> PackedHeatMap:
        """Draws a heat map, or takes it from the cache.

        Args:
          study: A study that this model has predicted.
          series: Index of the series in the study, from 0.
          number: Index of the slice in the series, from 0.
          name: Class, one of `CLASSES`.

        Raises:
          Refused: 503 if too many heat maps wait.
        """
        key = study.study_id, series, number, name
        with self._lock:
            if key in self._heat_maps:
                self._heat_maps.move_to_end(key)
                return self._heat_maps[key]
            future = self._under_way.get(key)
            if future is None:
                predicted = study.series[series]
                future = self._model.urgent(lambda: self._draw(study, predicted, number, name))
                self._under_way[key] = future
        try:
            heat = future.result()
        except FileNotFoundError as error:
            raise Refused(404, "NO_STUDY", "the study was deleted while it was read.") from error
        finally:
            with self._lock:
                self._under_way.pop(key, None)
        with self._lock:
            self._heat_maps[key] = heat
            size = sum(len(cached.packed) for cached in self._heat_maps.values())
            while size > self._limits.cache_mb * MIB:
                size -= len(self._heat_maps.popitem(last=False)[1].packed)
        return heat

    def forget(self, study: UploadedStudy) -> None:
        """Removes the heat maps of a study."""
        with self._lock:
            for key in [key for key in self._heat_maps if key[0] == study.study_id]:
                del self._heat_maps[key]

    def _draw(
        self, study: UploadedStudy, series: PredictedSeries, number: int, name: str
    ) -> PackedHeatMap:
        begun = time.perf_counter()
        heat = analysis.heat_map(
            self._predictor, self._explainer, self._studies.folder(study), series, number, name
        )
        self._monitor.heat_map_seconds.observe(time.perf_counter() - begun)
        rows, columns = heat.values.shape
        return PackedHeatMap(
            gzip.compress(heat.values.tobytes(), GZIP_LEVEL),
            rows,
            columns,
            heat.scale,
            heat.greatest,
            heat.caption,
        )
