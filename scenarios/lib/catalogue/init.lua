-- scenarios/catalogue.lua as a module.
local folder = debug.getinfo(1, "S").source:match("^@(.*)/lib/catalogue/[^/]*$")
return dofile(folder .. "/catalogue.lua")
