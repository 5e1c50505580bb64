#!/usr/bin/env escript
%% Prints what Cowlib answers to offers of compression, for test/rust/vectors/ws/extensions.txt. Run by hand with Cowlib and
%% Cowboy on ERL_LIBS:
%%
%%     escript test/rust/vectors/ws/extensions.escript > test/rust/vectors/ws/extensions.txt
%%
%% A line is Options TAB Offers TAB Answer. Options are `key=value`, separated by spaces. The answer is a header, or
%% `none`, or `malformed`. Cowlib's version is in the first line, because 2.14 changed a rule.

main([]) ->
	ok = application:load(cowlib),
	{ok, Version} = application:get_key(cowlib, vsn),
	io:format("# Cowlib ~s~n", [Version]),
	Lines = [{Options, Offers} || Options <- options(), Offers <- offers()]
		++ [{[], Offers} || Offers <- headers()],
	[io:format("~s\t~s\t~s~n", [format(Options), Offers, answer(Offers, maps:from_list(Options))])
		|| {Options, Offers} <- Lines],
	ok.

options() ->
	[[],
		[{server_max_window_bits, 11}],
		[{client_max_window_bits, 11}],
		[{server_max_window_bits, 8}, {client_max_window_bits, 8}],
		[{server_context_takeover, no_takeover}],
		[{client_context_takeover, no_takeover}],
		[{server_context_takeover, no_takeover}, {client_context_takeover, no_takeover},
			{server_max_window_bits, 10}, {client_max_window_bits, 12}]].

%% Every combination of parameters, the full ones in two orders, and each value that a parameter may not have.
offers() ->
	Combinations = [[S, C, SB, CB] ||
		S <- [none, "server_no_context_takeover"],
		C <- [none, "client_no_context_takeover"],
		SB <- [none | ["server_max_window_bits=" ++ V || V <- ["8", "11", "15"]]],
		CB <- [none, "client_max_window_bits"
			| ["client_max_window_bits=" ++ V || V <- ["8", "11", "15"]]]],
	Parameters = [[P || P <- Combination, P =/= none] || Combination <- Combinations],
	[offer(P) || P <- Parameters] ++ [offer(lists:reverse(P)) || P <- Parameters, length(P) =:= 4]
		++ [offer([P]) || P <- wrong()] ++ [offer([P, "client_max_window_bits"]) || P <- wrong()].

wrong() ->
	["server_max_window_bits", "server_max_window_bits=7", "server_max_window_bits=16", "server_max_window_bits=08",
		"server_max_window_bits=\"10\"", "server_max_window_bits=\"1\\0\"", "server_max_window_bits=\"\"",
		"server_max_window_bits=a", "client_max_window_bits=7", "client_max_window_bits=16", "client_max_window_bits=010",
		"client_max_window_bits=\"9\"", "server_no_context_takeover=1", "client_no_context_takeover=1",
		"server_no_context_takeover; server_no_context_takeover", "client_max_window_bits=9; client_max_window_bits=9",
		"server_max_window_bits=9; server_max_window_bits=10", "bogus", "bogus=1", "Server_no_context_takeover"].

offer(Parameters) ->
	lists:flatten(lists:join("; ", ["permessage-deflate" | Parameters])).

%% Whole headers: several offers, other extensions, spaces, and what is malformed.
headers() ->
	["permessage-deflate; bogus, permessage-deflate; client_max_window_bits", "permessage-deflate, permessage-deflate",
		"PERMESSAGE-DEFLATE", "foo, permessage-deflate", "foo; a=b; c, bar", "permessage-deflate, x-webkit-deflate-frame",
		"x-webkit-deflate-frame, permessage-deflate", "x-webkit-deflate-frame", "x-webkit-deflate-frame; no_context_takeover",
		"x-webkit-deflate-frame; max_window_bits=8; bogus", ",, permessage-deflate ,", "\tpermessage-deflate\t",
		"permessage-deflate;server_no_context_takeover;client_max_window_bits", "permessage-deflate ;  client_max_window_bits ",
		"", ",", " ", "permessage-deflate;", "permessage-deflate; ;", "permessage-deflate; =1", "permessage-deflate; a=",
		"permessage-deflate; a= 1", "permessage-deflate; a =1", "permessage-deflate; a=\"1", "permessage-deflate; a=\"1 2\"",
		"permessage-deflate; a=\"\\\"\"", "permessage-deflate; a=\"\\", "permessage deflate", "permessage-deflate/1",
		"permessage-deflate; a=\"b\"c", "; permessage-deflate", "permessage-deflate, ;", "\"permessage-deflate\""].

format(Options) ->
	lists:join(" ", [io_lib:format("~s=~p", [K, V]) || {K, V} <- Options]).

%% As cowboy_websocket does it: the first offer that is not ignored.
answer(Offers, Options) ->
	try cow_http_hd:parse_sec_websocket_extensions(list_to_binary(Offers)) of
		Extensions -> first(Extensions, Options)
	catch _:_ -> "malformed" end.

first([], _) -> "none";
first([{Name, Parameters} | Tail], Options) ->
	Result = case Name of
		<<"permessage-deflate">> -> cow_ws:negotiate_permessage_deflate(Parameters, #{}, Options);
		<<"x-webkit-deflate-frame">> -> cow_ws:negotiate_x_webkit_deflate_frame(Parameters, #{}, Options);
		_ -> ignore
	end,
	case Result of
		ignore -> first(Tail, Options);
		{ok, Answer, #{inflate := Inflate, deflate := Deflate}} ->
			zlib:close(Inflate),
			zlib:close(Deflate),
			Answer
	end.
