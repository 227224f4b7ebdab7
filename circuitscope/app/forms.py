"""Make form fields from a settings class: label, unit, range, choices and help come from it."""

from collections.abc import Iterable
from dataclasses import Field, fields
from typing import Any

from PySide6.QtCore import QLocale
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFormLayout,
    QLineEdit,
    QSpinBox,
    QWidget,
)

from circuitscope.app.widgets import RealBox, SpinBox, text_label
from circuitscope.app.words import THIN, tr


class SettingsForm(QWidget):
    """Fields for some of a settings class's values.

    Args:
        settings: A dataclass whose fields carry `label`, `help` and, as they need, `range`,
            `unit` and `choices` as metadata.
        names: Which fields, in this order.
        start: Values to begin with; the class's defaults where left out.
    """

    def __init__(
        self, settings: type, names: Iterable[str], start: dict[str, Any] | None = None
    ) -> None:
        super().__init__()
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(16)
        form.setVerticalSpacing(8)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.FieldsStayAtSizeHint)
        known = {item.name: item for item in fields(settings)}
        self.fields: dict[str, QWidget] = {}
        for name in names:
            item = known[name]
            value = (start or {}).get(name, item.default)
            made = field_for(item, value)
            made.setToolTip(tr(item.metadata["help"]))
            made.setAccessibleName(tr(item.metadata["label"]))
            caption = text_label(tr(item.metadata["label"]), "quiet")
            caption.setToolTip(made.toolTip())
            caption.setBuddy(made)
            form.addRow(caption, made)
            self.fields[name] = made

    def fill(self, values: dict[str, Any]) -> None:
        """Set the fields to values by name; names without a field are left out."""
        for name, made in self.fields.items():
            if name in values:
                set_value(made, values[name])

    def values(self) -> dict[str, Any]:
        """Return what the fields hold, by name."""
        return {name: value_of(made) for name, made in self.fields.items()}


def field_for(item: Field, value: Any) -> QWidget:
    """Make the field that fits a setting."""
    hints = item.metadata
    if "choices" in hints:
        return _choice(hints["choices"], value)
    if isinstance(item.default, bool):
        made = QCheckBox()
        made.setChecked(bool(value))
        return made
    if "range" in hints:
        low, high = hints["range"]
        if isinstance(low, float):
            return _real(low, high, float(value))
        return _whole(low, high, value, hints.get("unit", ""), optional=item.default is None)
    if isinstance(item.default, int):
        return _whole(0, 2**31 - 1, value, hints.get("unit", ""), optional=False)
    text = QLineEdit(str(value))
    text.setMinimumWidth(160)
    return text


def value_of(made: QWidget) -> Any:
    """Return what a field of `field_for` holds."""
    if isinstance(made, QComboBox):
        return made.currentData()
    if isinstance(made, QCheckBox):
        return made.isChecked()
    if isinstance(made, QSpinBox):
        empty = made.specialValueText() and made.value() == made.minimum()
        return None if empty else made.value()
    if isinstance(made, QDoubleSpinBox):
        return made.value()
    assert isinstance(made, QLineEdit)
    return made.text()


def set_value(made: QWidget, value: Any) -> None:
    """Set a field of `field_for`."""
    if isinstance(made, QComboBox):
        made.setCurrentIndex(max(0, made.findData(value)))
    elif isinstance(made, QCheckBox):
        made.setChecked(bool(value))
    elif isinstance(made, QSpinBox):
        made.setValue(made.minimum() if value is None else int(value))
    elif isinstance(made, QDoubleSpinBox):
        made.setValue(float(value))
    else:
        assert isinstance(made, QLineEdit)
        made.setText(str(value))


def _choice(choices: Iterable[str], value: str) -> QComboBox:
    made = QComboBox()
    made.setMinimumWidth(160)
    for choice in choices:
        made.addItem(tr(str(choice).replace("_", " ")), choice)
    made.setCurrentIndex(max(0, made.findData(value)))
    return made


def _whole(low: int, high: int, value: int | None, unit: str, *, optional: bool) -> QSpinBox:
    made = SpinBox()
    made.setMinimumWidth(160)
    made.setRange(low - 1 if optional else low, high)
    made.lineEdit().setTextMargins(6, 0, 6, 0)
    made.setLocale(QLocale.c())
    if optional:
        made.setSpecialValueText(tr("automatic"))
    if unit:
        made.setSuffix(THIN + tr(unit))
    made.setValue(made.minimum() if value is None else value)
    return made


def _real(low: float, high: float, value: float) -> QDoubleSpinBox:
    made = RealBox()
    made.setMinimumWidth(160)
    made.setRange(low, high)
    made.lineEdit().setTextMargins(6, 0, 6, 0)
    made.setLocale(QLocale.c())
    made.setDecimals(2)
    made.setSingleStep(0.05)
    made.setValue(value)
    return made
