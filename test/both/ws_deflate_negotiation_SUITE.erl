%% permessage-deflate (RFC 7692): what is negotiated.
-module(ws_deflate_negotiation_SUITE).

-compile([export_all, nowarn_export_all]).

%% Newer Cowboys do not know x-webkit-deflate-frame: beside them only webkit_deflate_frame_offers has something to compare.
all() ->
    same_test:cases(?MODULE) -- [webkit_deflate_frame_parameters || same_test:version(cowboy) >= {2, 20}].

%% Each row: the offer, the handler's deflate_opts, the extension in the 101.
negotiation(_) ->
    [First | Rest] = [{Row, {Offer, #{compress => true, deflate_opts => Opts}}, Expected}
        || {Offer, Opts, Expected} = Row <- negotiations()],
    negotiated(First, Rest).

negotiations() ->
    [
        {"permessage-deflate", #{}, <<"permessage-deflate">>},
        {"permessage-deflate", #{server_max_window_bits => 10}, <<"permessage-deflate; server_max_window_bits=10">>},
        {"permessage-deflate; server_max_window_bits=9", #{}, <<"permessage-deflate; server_max_window_bits=9">>},
        {"permessage-deflate; server_max_window_bits=9", #{server_max_window_bits => 12},
            <<"permessage-deflate; server_max_window_bits=9">>},
        {"permessage-deflate; server_max_window_bits=12", #{server_max_window_bits => 9},
            <<"permessage-deflate; server_max_window_bits=9">>},
        {"permessage-deflate; server_max_window_bits=8", #{}, <<"permessage-deflate; server_max_window_bits=8">>},
        {"permessage-deflate; server_max_window_bits=15", #{}, <<"permessage-deflate; server_max_window_bits=15">>},
        {"permessage-deflate; server_max_window_bits=\"10\"", #{},
            <<"permessage-deflate; server_max_window_bits=10">>},
        {"permessage-deflate; server_max_window_bits", #{}, none},
        {"permessage-deflate; server_max_window_bits=7", #{}, none},
        {"permessage-deflate; server_max_window_bits=16", #{}, none},
        {"permessage-deflate; server_max_window_bits=08", #{}, none},
        {"permessage-deflate; server_max_window_bits=x", #{}, none},
        {"permessage-deflate; client_max_window_bits", #{}, <<"permessage-deflate; client_max_window_bits=15">>},
        {"permessage-deflate; client_max_window_bits", #{client_max_window_bits => 9},
            <<"permessage-deflate; client_max_window_bits=9">>},
        {"permessage-deflate; client_max_window_bits=10", #{}, <<"permessage-deflate; client_max_window_bits=10">>},
        {"permessage-deflate; client_max_window_bits=10", #{client_max_window_bits => 9},
            <<"permessage-deflate; client_max_window_bits=9">>},
        {"permessage-deflate; client_max_window_bits=7", #{}, none},
        {"permessage-deflate; client_max_window_bits=16", #{}, none},
        {"permessage-deflate; server_no_context_takeover", #{}, <<"permessage-deflate; server_no_context_takeover">>},
        {"permessage-deflate; client_no_context_takeover", #{}, <<"permessage-deflate; client_no_context_takeover">>},
        {"permessage-deflate", #{server_context_takeover => no_takeover},
            <<"permessage-deflate; server_no_context_takeover">>},
        {"permessage-deflate", #{client_context_takeover => no_takeover},
            <<"permessage-deflate; client_no_context_takeover">>},
        {"permessage-deflate", #{client_context_takeover => no_takeover, server_context_takeover => no_takeover},
            <<"permessage-deflate; client_no_context_takeover; server_no_context_takeover">>},
        {"permessage-deflate; server_no_context_takeover", #{server_context_takeover => no_takeover},
            <<"permessage-deflate; server_no_context_takeover">>},
        {"permessage-deflate; client_max_window_bits; server_max_window_bits=10; client_no_context_takeover; "
            "server_no_context_takeover", #{},
            <<"permessage-deflate; server_no_context_takeover; client_no_context_takeover; "
                "client_max_window_bits=15; server_max_window_bits=10">>},
        {"permessage-deflate; client_max_window_bits=10; server_max_window_bits=10", #{},
            <<"permessage-deflate; server_max_window_bits=10; client_max_window_bits=10">>},
        {"permessage-deflate; client_no_context_takeover", #{server_max_window_bits => 9,
            server_context_takeover => no_takeover},
            <<"permessage-deflate; server_max_window_bits=9; client_no_context_takeover; "
                "server_no_context_takeover">>},
        {"permessage-deflate; server_no_context_takeover=1", #{}, none},
        {"permessage-deflate; client_no_context_takeover=1", #{}, none},
        {"permessage-deflate; server_max_window_bits=9; server_max_window_bits=9", #{}, none},
        {"permessage-deflate; server_no_context_takeover; server_no_context_takeover", #{}, none},
        {"permessage-deflate; unknown", #{}, none},
        {"PERMESSAGE-DEFLATE", #{}, none},
        {"other", #{}, none},
        {"other, permessage-deflate", #{}, <<"permessage-deflate">>},
        {"permessage-deflate; unknown, permessage-deflate; client_max_window_bits", #{},
            <<"permessage-deflate; client_max_window_bits=15">>},
        {"permessage-deflate; server_max_window_bits=10, permessage-deflate", #{},
            <<"permessage-deflate; server_max_window_bits=10">>}
    ].

webkit_deflate_frame_offers(_) ->
    Taken = <<"x-webkit-deflate-frame">>,
    Row = fun(Offer) ->
        case same_test:version(cowboy) < {2, 20} of
            true -> {Offer, {Offer, #{compress => true}}, Taken};
            false -> {Offer, {Offer, #{compress => true}}, none, {webkit_deflate_frame, Taken}}
        end
    end,
    negotiated(Row("x-webkit-deflate-frame"), [Row("x-webkit-deflate-frame; no_context_takeover")]).

%% Only since Cowlib 2.14 is the offer ignored: without the client's word for it, the server cannot ask for a window.
client_window_that_was_not_offered(_) ->
    negotiated({client_max_window_bits, {"permessage-deflate",
        #{compress => true, deflate_opts => #{client_max_window_bits => 9}}}, <<"permessage-deflate">>,
        {client_window_not_offered, {2, 13}, none}}, []).

the_same_parameter_with_two_values(_) ->
    negotiated({server_max_window_bits, {"permessage-deflate; server_max_window_bits=9; server_max_window_bits=10",
        #{compress => true}}, <<"permessage-deflate; server_max_window_bits=9; server_max_window_bits=10">>,
        {deflate_parameter_twice, none}}, []).

compress_is_off_by_default(_) ->
    negotiated({default, {"permessage-deflate", #{}}, none}, [
        {'false', {"permessage-deflate", #{compress => false}}, none}]).

negotiated(Row, Rows) ->
    same_test:rows(#{handler => {ws_script_h, #{init => fun(Req, State) ->
        Opts = binary_to_term(base64:decode(cowboy_req:header(<<"x-opts">>, Req))),
        {cowboy_websocket, Req, State, Opts}
    end}}}, fun(Server, {Offer, Opts}) ->
        #{status := 101} = Answer = ws_client:upgrade(http_client:connect(Server), [
            {"Sec-WebSocket-Extensions", Offer}, {"X-Opts", base64:encode(term_to_binary(Opts))}]),
        case http_client:header(<<"sec-websocket-extensions">>, Answer) of
            undefined -> none;
            Extension -> Extension
        end
    end, [Row | Rows]).

webkit_deflate_frame_parameters(_) ->
    _ = [same_test:differ(webkit_deflate_frame_parameters, #{handler => {ws_script_h, #{opts => #{compress => true}}}}, fun(Server) ->
        Offer = [{"Sec-WebSocket-Extensions", ["x-webkit-deflate-frame; ", Parameter]}],
        #{status := 101} = Answer = ws_client:upgrade(http_client:connect(Server), Offer),
        http_client:header(<<"sec-websocket-extensions">>, Answer)
    end, #{
        cowboy => fun(#{wire := <<"x-webkit-deflate-frame">>}) -> ok end,
        outrider => fun(#{wire := undefined}) -> ok end
    }) || Parameter <- ["max_window_bits=7", "no_context_takeover=1", "unknown"]],
    ok.
