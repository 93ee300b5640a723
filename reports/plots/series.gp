set yrange [0:@YMAX@]
set ytics @YSTEP@
plot @CURVES@
