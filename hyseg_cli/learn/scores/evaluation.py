"""Evaluation: all that is known of how well one map agrees with its reference."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hyseg_cli.errors import HysegError
from hyseg_cli.learn.scores.boundaries import Disc
from hyseg_cli.learn.scores.metrics import Counts, Scores
from hyseg_cli.learn.scores.seams import SeamScores
from hyseg_cli.learn.scores.structure import StructureScores
from hyseg_cli.learn.scores.tally import PatchTable, Tally
from hyseg_cli.legend import Legend


@dataclass(frozen=True)
class Protocol:
    """How maps are measured."""

    patch_px: int
    """Side, nearly, of the patches that structure is counted in and that a bootstrap draws."""
    disc: Disc | None = None
    """Width of boundaries; None to leave structure out."""
    excluded: tuple[int, ...] = ()
    """Channels that the means leave out."""


@dataclass(frozen=True)
class Strangers:
    """Pixels of the reference that have a class of no map; they are not compared."""

    pixels: int = 0
    names: tuple[str, ...] = ()
    """Their classes, or values and colours where these have no name."""

    def joined(self, other: Strangers) -> Strangers:
        """Those of two references together."""
        return Strangers(self.pixels + other.pixels, tuple(sorted({*self.names, *other.names})))


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How well one map, or the maps of one model, agree with their reference."""

    name: str
    """The map or the model."""
    reference: str
    legend: Legend
    """The classes compared."""
    protocol: Protocol
    confusion: Counts
    """(classes, classes): pixels by class of the reference (rows) and of the map."""
    agreement: Scores
    structure: StructureScores | None
    """None if it was not asked for."""
    seams: SeamScores | None
    """None if the map does not tell its tiles, or has but one."""
    overlap_disagreement: float | None
    """Share of the pixels in overlaps on which neighbouring tiles differ; None for maps."""
    strangers: Strangers
    scenes: tuple[str, ...]
    """The map, or the images of a model, that the patches are numbered by."""
    patches: PatchTable

    @classmethod
    def of(
        cls,
        tally: Tally,
        legend: Legend,
        protocol: Protocol,
        *,
        name: str,
        reference: str,
        strangers: Strangers,
        scenes: tuple[str, ...],
        overlap_disagreement: float | None = None,
    ) -> Evaluation:
        """The scores of what was counted.

        Raises:
            HysegError: If no pixel has a class in both.
        """
        if not tally.confusion.any():
            outside = ""
            if strangers.pixels:
                outside = (
                    f"; {strangers.pixels:,} pixels of the reference are of classes that the map "
                    f"does not have ({', '.join(strangers.names[:5])})"
                )
            raise HysegError(
                f"{name} and {reference} have no labelled pixel in common{outside}",
                hint="Check that they cover the same place and that their classes match.",
            )
        agreement, table = Scores.of(tally.confusion, protocol.excluded), tally.table()
        structure = None
        if table.structure is not None and protocol.disc is not None:
            structure = StructureScores.of(
                table.structure,
                agreement.pixels,
                agreement.averaged,
                patch_px=math.sqrt(table.places[:, 3:].prod(axis=1).mean()),
                disc=protocol.disc,
            )
        return cls(
            name=name,
            reference=reference,
            legend=legend,
            protocol=protocol,
            confusion=tally.confusion,
            agreement=agreement,
            structure=structure,
            seams=None if table.seams is None else SeamScores.of(table.seams),
            overlap_disagreement=overlap_disagreement,
            strangers=strangers,
            scenes=scenes,
            patches=table,
        )

    def overall(self) -> dict[str, float]:
        """Each score of the whole map by its name; NaN where it does not exist."""
        scores = self.agreement
        found = {
            "miou": scores.mean_iou,
            "mf1": scores.mean_f1,
            "overall_accuracy": scores.overall_accuracy,
            "fwiou": scores.frequency_weighted_iou,
            "quantity_disagreement": scores.quantity_disagreement,
            "allocation_disagreement": scores.allocation_disagreement,
            "kappa": scores.kappa,
        }
        if (form := self.structure) is not None:
            found |= {
                "cldice": float(form.mean_cl_dice.mean),
                "b0_error": float(form.mean_b0_error.mean),
                "b1_error": float(form.mean_b1_error.mean),
                "boundary_iou": form.mean_boundary_iou,
                "boundary_f1": form.mean_boundary_f1,
                "pieces_per_mpx": float(form.pieces_per_mpx[:, 1].sum()),
                "reference_pieces_per_mpx": float(form.pieces_per_mpx[:, 0].sum()),
            }
        if self.seams is not None:
            found["seam_ratio"] = self.seams.ratio
        if self.overlap_disagreement is not None:
            found["overlap_disagreement"] = self.overlap_disagreement
        return found

    def by_class(self) -> dict[str, dict[str, float]]:
        """Each score of each class, by the name of the class and its own."""
        scores, form = self.agreement, self.structure
        columns = {
            "iou": scores.iou,
            "f1": scores.f1,
            "precision": scores.precision,
            "recall": scores.recall,
        }
        if form is not None:
            columns |= {
                "cldice": form.cl_dice.mean,
                "b0_error": form.b0_error.mean,
                "b1_error": form.b1_error.mean,
                "boundary_iou": form.boundary_iou,
                "boundary_f1": form.boundary_f1,
                "pieces_per_mpx": form.pieces_per_mpx[:, 1],
                "reference_pieces_per_mpx": form.pieces_per_mpx[:, 0],
            }
        return {
            name: {column: float(values[channel]) for column, values in columns.items()}
            for channel, name in enumerate(self.legend.names)
        }
