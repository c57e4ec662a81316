module memberly

go 1.26
