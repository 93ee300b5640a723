set yrange [0:105]
set format y "%g %%"
set ytics 25
plot @CURVES@
