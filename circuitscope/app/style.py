"""The style sheet of the window, as a template over the names of `theme.Palette`.

Rhythm: 8 px grid, 24 px rows, 16 px panel margins, 6 px corners, hairlines instead of boxes.
Widgets ask for a look with the dynamic property `look`, so that no rule names an object twice.
"""

STYLE = """
* { outline: none; dialogbuttonbox-buttons-have-icons: 0; }
QWidget { color: $ink; font-size: ${text}px; }
QMainWindow, QDialog, #Desk { background: $window; }
QToolTip {
  background: $tooltip; color: $tooltip_ink; border: 0; padding: 6px 8px; font-size: 12px;
}

QMenuBar { background: $window; border-bottom: 1px solid $hairline; padding: 2px 6px; }
QMenuBar::item { padding: 4px 10px; border-radius: 5px; background: transparent; }
QMenuBar::item:selected { background: $hover; }
QMenu {
  background: $panel; border: 1px solid $border; padding: 6px 0; icon-size: 16px;
}
QMenu::item { padding: 5px 28px 5px 14px; min-height: 18px; }
QMenu::item:selected { background: $accent_tint; color: $ink; }
QMenu::item:disabled { color: $disabled; }
QMenu::separator { height: 1px; background: $hairline; margin: 6px 0; }
QMenu::icon { padding-left: 12px; }
QMenu::indicator { width: 14px; height: 14px; left: 12px; }

QToolBar {
  background: $panel; border: 0; border-bottom: 1px solid $hairline;
  padding: 6px 10px; spacing: 6px;
}
QToolBar::separator { background: $hairline; width: 1px; margin: 3px 6px; }
QToolBar QToolButton, QPushButton {
  background: $panel; border: 1px solid $border; border-radius: 6px;
  padding: 0 12px; min-height: 26px; font-weight: 500;
}
QToolBar QToolButton { max-height: 26px; }
QToolBar QToolButton:hover, QPushButton:hover { background: $hover; }
QToolBar QToolButton:pressed, QPushButton:pressed { background: $hairline; }
QToolBar QToolButton:checked { background: $accent_tint; border-color: $accent; }
QToolBar QToolButton:disabled, QPushButton:disabled { color: $disabled; border-color: $hairline; }
QToolBar QToolButton:focus, QPushButton:focus { border-color: $accent; }
QToolBar QToolButton::menu-indicator { image: none; }
QToolBar QToolButton[look="icon"] { border: 1px solid transparent; padding: 0 5px; }
QToolBar QToolButton[look="primary"], QPushButton[look="primary"] {
  background: $accent; border-color: $accent; color: $on_accent; font-weight: 600; padding: 0 16px;
}
QToolBar QToolButton[look="primary"]:hover, QPushButton[look="primary"]:hover,
QToolBar QToolButton[look="primary"]:pressed, QPushButton[look="primary"]:pressed {
  background: $accent_pressed;
}
QToolBar QToolButton[look="primary"]:focus, QPushButton[look="primary"]:focus {
  border-color: $ink;
}
QToolBar QToolButton[look="primary"]:disabled, QPushButton[look="primary"]:disabled {
  background: $field; border-color: $hairline; color: $secondary;
}
QPushButton[look="quiet"], QToolButton[look="quiet"] {
  background: transparent; border: 1px solid transparent; padding: 0 8px; min-height: 24px;
  font-weight: 500; border-radius: 5px;
}
QPushButton[look="quiet"]:hover, QToolButton[look="quiet"]:hover { background: $hover; }
QPushButton[look="quiet"]:focus, QToolButton[look="quiet"]:focus { border-color: $accent; }
QToolButton[look="close"] {
  background: transparent; border: 1px solid transparent; border-radius: 4px; padding: 0;
}
QToolButton[look="close"]:hover { background: $hairline; }
QToolButton[look="close"]:focus { border-color: $accent; }
QPushButton[look="link"], QToolButton[look="link"] {
  background: transparent; border: 0; padding: 0; color: $accent_ink; min-height: 20px;
  font-weight: 500; text-align: left;
}
QPushButton[look="link"]:hover, QToolButton[look="link"]:hover { text-decoration: underline; }
QPushButton[look="link"]:focus, QToolButton[look="link"]:focus { text-decoration: underline; }
QPushButton[look="link"]:disabled { color: $disabled; text-decoration: none; }
QPushButton[look="token"] {
  background: $field; border: 1px solid transparent; border-radius: 5px; padding: 0 7px;
  min-height: 26px; font-weight: 400;
}
QPushButton[look="token"]:hover { border-color: $border; background: $hover; }
QPushButton[look="token"]:focus { border-color: $accent; }
QPushButton[look="token"]:checked {
  background: $accent_tint; border-color: $accent; font-weight: 600;
}
QPushButton[look="generated"] {
  background: $panel; border: 1px solid $border; border-radius: 5px; padding: 0 8px;
  min-height: 26px; font-weight: 600;
}
QPushButton[look="generated"]:hover { background: $hover; border-color: $accent; }
QPushButton[look="generated"]:focus { border-color: $accent; }
QPushButton[look="generated"]:checked {
  background: $accent; border-color: $accent; color: $on_accent;
}
QPushButton[look="token"]:checked:focus, QPushButton[look="generated"]:checked:focus {
    border-color: $ink;
}

QLineEdit, QTextEdit, QPlainTextEdit, QComboBox, QSpinBox, QDoubleSpinBox {
  background: $panel; border: 1px solid $border; border-radius: 6px; padding: 0 8px;
  min-height: 26px; selection-background-color: $accent; selection-color: $on_accent;
}
QLineEdit { padding: 0 6px; }
QLineEdit, QTextEdit, QPlainTextEdit { placeholder-text-color: $secondary; }
QTextEdit, QPlainTextEdit { padding: 6px 4px; }
QLineEdit:focus, QTextEdit:focus, QPlainTextEdit:focus, QComboBox:focus, QSpinBox:focus,
QDoubleSpinBox:focus { border-color: $accent; }
QLineEdit:disabled, QComboBox:disabled, QSpinBox:disabled { color: $disabled; background: $field; }
QLineEdit[look="search"] { background: $field; border-color: $hairline; }
QLineEdit[look="search"]:focus { background: $panel; border-color: $accent; }
QLineEdit[look="bad"], QPlainTextEdit[look="bad"] { border-color: $error; }
QComboBox { padding-right: 24px; }
QComboBox::drop-down { border: 0; width: 24px; }
QComboBox::down-arrow { image: url($icons/chevron-down.svg); width: 14px; height: 14px; }
QComboBox QAbstractItemView, QComboBox QAbstractItemView:focus {
  background: $panel; border: 1px solid $border; padding: 4px 0; outline: 0;
  selection-background-color: $accent_tint; selection-color: $ink;
}
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button, QDoubleSpinBox::down-button
{ width: 0; border: 0; }
QSpinBox, QDoubleSpinBox { min-height: 24px; }
QSpinBox QLineEdit, QDoubleSpinBox QLineEdit {
  border: 0; padding: 0; min-height: 0; background: transparent;
}
QCheckBox { spacing: 8px; min-height: 24px; }
QCheckBox:focus { color: $accent_ink; }
QCheckBox:disabled { color: $secondary; }
QCheckBox::indicator {
  width: 14px; height: 14px; border: 1px solid $outline; border-radius: 4px; background: $panel;
}
QCheckBox::indicator:hover, QCheckBox::indicator:focus { border-color: $accent; }
QCheckBox::indicator:checked {
  background: $accent; border-color: $accent; image: url($icons/check.svg);
}
QCheckBox::indicator:disabled { background: $field; border-color: $hairline; }

#HalfHead { background: $window; border-bottom: 2px solid transparent; }
#HalfHead[look="active"] { border-bottom-color: $accent; }
QPushButton[look="class"] { padding: 3px 10px; text-align: left; }
QPushButton[look="class"]:checked { border-color: $accent; background: $accent_tint; color: $ink; }
QPushButton[look="class"]:!checked { color: $secondary; }

QTabBar { background: $window; qproperty-drawBase: 0; }
QTabBar::tab {
  background: transparent; padding: 0 14px; height: 33px; color: $secondary; border: 0;
  border-bottom: 2px solid transparent; font-weight: 500;
}
QTabBar::tab:selected {
  background: $panel; color: $ink; border-bottom: 2px solid $accent; font-weight: 600;
}
QTabBar::tab:hover:!selected { color: $ink; }
QTabBar::tab:selected:focus { border-bottom: 2px solid $ink; }
QTabBar::close-button {
  image: url($icons/x.svg); subcontrol-position: right; width: 12px; height: 12px; padding: 2px;
}
QTabBar::close-button:hover { background: $hairline; border-radius: 3px; }
QTabBar[look="small"] { background: transparent; }
QTabBar[look="small"]::tab { padding: 0 7px; height: 25px; }
QTabWidget::pane { border: 0; border-top: 1px solid $hairline; background: $panel; }
QTabWidget::tab-bar { left: 4px; }

QDockWidget { titlebar-close-icon: none; }
QMainWindow::separator { background: $hairline; width: 1px; height: 1px; }
QMainWindow::separator:hover { background: $accent; }
#PanelBody { background: $panel; }
#PanelHead { background: $panel; }
#PanelBody[look="desk"], #PanelHead[look="desk"] { background: $window; }

QLabel { background: transparent; }
QLabel[look="section"] {
  color: $secondary; font-size: 10.5px; font-weight: 600; letter-spacing: 0.8px;
}
QLabel[look="name"] { font-size: 20px; font-weight: 600; }
QLabel[look="title"] { font-size: 20px; font-weight: 600; }
QLabel[look="heading"] { font-size: 14px; font-weight: 600; }
QLabel[look="strong"] { font-weight: 600; }
QLabel[look="automatic"] { font-style: italic; color: $secondary; }
QLabel[look="name-automatic"] {
  font-size: 20px; font-weight: 500; font-style: italic; color: $secondary;
}
QLabel[look="value"] { font-size: 15px; font-weight: 600; }
QLabel[look="quiet"] { color: $secondary; }
QLabel[look="small"] { color: $secondary; font-size: 11.5px; }
QLabel[look="note"] { color: $secondary; font-size: 11.5px; font-style: italic; }
QLabel[look="positive"] { color: $positive; font-weight: 600; }
QLabel[look="negative"] { color: $negative; font-weight: 600; }
QLabel[look="error"] { color: $error; }
QLabel[look="error-small"] { color: $error; font-size: 11.5px; }
QLabel[look="badge"] {
  background: $supported_tint; color: $supported; border-radius: 9px; padding: 2px 9px;
  font-size: 11px; font-weight: 600;
}
QLabel[look="badge-plain"] {
  background: $field; color: $secondary; border-radius: 9px; padding: 2px 9px; font-size: 11px;
  font-weight: 500;
}
QFrame[look="line"] { background: $hairline; border: 0; max-height: 1px; min-height: 1px; }
QFrame[look="card"] { background: $panel; border: 1px solid $hairline; border-radius: 8px; }
QFrame[look="card"]:hover { border-color: $accent; }
QFrame[look="card"]:focus { border: 2px solid $accent; }
QFrame[look="well"] { background: $field; border: 1px solid $hairline; border-radius: 8px; }
QFrame[look="drop"] { border: 1px dashed $border; border-radius: 8px; background: transparent; }
QFrame[look="drop"][over="true"] { border-color: $accent; background: $accent_tint; }
QFrame[look="warning"] { background: $error_tint; border: 0; border-radius: 6px; }
QFrame[look="row"] { border: 0; border-bottom: 1px solid transparent; }
QFrame[look="row"]:hover { border-bottom-color: $hairline; }
QFrame[look="row"]:focus { border-bottom-color: $accent; }
QFrame[look="remark"] { background: $field; border: 0; border-radius: 6px; }
QFrame[look="popup"] { background: $panel; border: 1px solid $border; border-radius: 8px; }
QFrame[look="sheet"] { background: $panel; border: 1px solid $border; }

QTreeView, QListView, QTableView, QTreeWidget, QListWidget {
  background: transparent; border: 0; outline: 0; show-decoration-selected: 1;
  selection-background-color: $accent_tint; selection-color: $ink;
}
QTreeView::item, QListView::item { min-height: 24px; padding: 0 6px; border: 0; }
QTreeView::item:hover, QListView::item:hover { background: $hover; }
QTreeView::item:selected, QListView::item:selected { background: $accent_tint; color: $ink; }
QTreeView::branch { background: transparent; }
QTreeView::branch:selected { background: $accent_tint; }
QTreeView::branch:has-children:closed { image: url($icons/chevron-right.svg); }
QTreeView::branch:has-children:open { image: url($icons/chevron-down.svg); }
QTreeView QLineEdit, QListView QLineEdit { min-height: 20px; padding: 0 4px; border-radius: 3px; }
QTreeView:focus, QListView:focus { border: 0; }

QHeaderView { background: transparent; border: 0; }
QHeaderView::section {
  background: transparent; border: 0; border-bottom: 1px solid $hairline; color: $secondary;
  font-size: 12px; padding: 0 8px;
}
QHeaderView::section:first, QHeaderView::section:only-one { padding-left: 2px; }
QHeaderView::section:last, QHeaderView::section:only-one { padding-right: 2px; }
QHeaderView::section:hover { color: $ink; }
QHeaderView::up-arrow, QHeaderView::down-arrow {
  width: 10px; height: 10px; subcontrol-position: right center;
}
QHeaderView::up-arrow { image: url($icons/chevron-up.svg); }
QHeaderView::down-arrow { image: url($icons/chevron-down.svg); }

QScrollArea { background: transparent; border: 0; }
QAbstractScrollArea::corner { background: transparent; border: 0; }
QScrollBar:vertical { background: transparent; width: 10px; margin: 0; }
QScrollBar:horizontal { background: transparent; height: 10px; margin: 0; }
QScrollBar::handle { background: $border; border-radius: 3px; margin: 2px; min-height: 28px; }
QScrollBar::handle:hover { background: $faint; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }

QSlider { min-height: 24px; }
QSlider::groove:horizontal { height: 4px; background: $border; border-radius: 2px; }
QSlider::sub-page:horizontal { height: 4px; background: $accent; border-radius: 2px; }
QSlider::handle:horizontal {
  background: $panel; border: 2px solid $accent; width: 10px; height: 10px; border-radius: 7px;
  margin: -5px 0;
}
QSlider::handle:horizontal:focus { background: $accent; }
QSlider::sub-page:horizontal:disabled { background: $faint; }
QSlider::handle:horizontal:disabled { border-color: $disabled; }
QProgressBar {
  background: $hairline; border: 0; border-radius: 2px; max-height: 4px; min-height: 4px;
}
QProgressBar::chunk { background: $accent; border-radius: 2px; }

QStatusBar { background: $window; border-top: 1px solid $hairline; min-height: 26px; }
QStatusBar::item { border: 0; }
QStatusBar QLabel, QStatusBar QToolButton { color: $secondary; font-size: 12px; }
QStatusBar QToolButton[look="link"] { min-height: 18px; font-weight: 400; color: $accent_ink; }
QStatusBar QLabel[look="note"] { font-size: 12px; }
"""
