-- How long a backfill will take, from batches spread over the whole table: old rows differ from new ones in width, in what they
-- hold and in whether they are cached, so the first ones alone would mislead.
local eta = {}

-- The i-th of 0, 1, 1/2, 1/4, 3/4, 1/8, 5/8, 3/8, 7/8 ...: each halves what was largest between those before.
function eta.fraction(i)
	if i <= 2 then return i - 1 end
	local n, out, weight = i - 2, 0, 0.5
	while n > 0 do
		out = out + (n & 1) * weight
		n, weight = n >> 1, weight / 2
	end
	return out
end

-- Student's t, two-sided 95 %, for 1 to 30 degrees of freedom.
local T = { 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
	2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042 }

-- Time for `rows` rows from samples { seen, ns }: { ns, low_ns, high_ns }, the interval being that of the mean at 95 %; nil for none. each_ns
-- is added for every batch of `batch` rows; workers share the work evenly.
function eta.estimate(samples, rows, batch, each_ns, workers)
	if #samples == 0 then return nil end
	local sum = 0
	for _, s in ipairs(samples) do sum = sum + s.ns / s.seen end
	local mean, squares = sum / #samples, 0
	for _, s in ipairs(samples) do squares = squares + (s.ns / s.seen - mean) ^ 2 end
	local half = #samples > 1 and (T[#samples - 1] or 1.96) * math.sqrt(squares / (#samples - 1) / #samples) or mean
	local function time(per_row) return math.floor((math.max(0, per_row) + each_ns / batch) * rows / workers) end
	return { ns = time(mean), low_ns = time(mean - half), high_ns = time(mean + half) }
end

-- The size of the next batch: towards the time that one should take, from what a row of the last ones took.
function eta.next_size(step, size, row_ns)
	if not step.batch_time then return size end
	local wanted = step.batch_time / math.max(1, row_ns)
	return math.floor(math.max(step.batch_min, math.min(step.batch_max, math.max(size / 2, math.min(size * 1.5, wanted)))))
end

return eta
