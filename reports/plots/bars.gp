set lmargin at screen 0.15
set yrange [@ROWS@:0]
set ytics (@TICS@) scale 0 noenhanced
unset grid
plot @CURVES@
