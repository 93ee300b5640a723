set lmargin at screen 0.15
set yrange [@ROWS@:-0.7] # above the first row the names of the phases
set ytics (@TICS@) scale 0 noenhanced
unset grid
plot @CURVES@
