%% A user's stream handler: notes every callback, adds a header to the answer, and answers requests for /direct itself.
-module(chain_stream_h).
-behaviour(cowboy_stream).

-export([init/3, data/4, info/3, terminate/3, early_error/5]).

init(Id, #{path := Path} = Req, #{env := #{probe := Probe}} = Opts) ->
    probe:note(Probe, {init, Id, Path}),
    case Path of
        <<"/direct">> ->
            {[{response, 200, #{<<"content-length">> => <<"6">>}, <<"direct">>}, stop], {Probe, none}};
        _ ->
            {Commands, Next} = cowboy_stream:init(Id, Req, Opts),
            {Commands, {Probe, Next}}
    end.

data(Id, IsFin, Data, {Probe, Next0}) ->
    probe:note(Probe, {data, Id, IsFin, Data}),
    {Commands, Next} = cowboy_stream:data(Id, IsFin, Data, Next0),
    {Commands, {Probe, Next}}.

info(Id, {response, Status, Headers, Body}, {Probe, Next0}) ->
    probe:note(Probe, {response, Status}),
    {Commands, Next} = cowboy_stream:info(Id, {response, Status, Headers#{<<"x-chain">> => <<"1">>}, Body}, Next0),
    {Commands, {Probe, Next}};
info(Id, Info, {Probe, Next0}) ->
    %% A read may come before or after the data.
    element(1, Info) =:= read_body orelse probe:note(Probe, {info, element(1, Info)}),
    {Commands, Next} = cowboy_stream:info(Id, Info, Next0),
    {Commands, {Probe, Next}}.

terminate(Id, Reason, {Probe, Next}) ->
    probe:note(Probe, {terminate, Id, Reason}),
    Next =:= none orelse cowboy_stream:terminate(Id, Reason, Next),
    ok.

early_error(Id, Reason, PartialReq, {response, Status, Headers, Body}, #{env := #{probe := Probe}} = Opts) ->
    probe:note(Probe, {early_error, Status, element(1, Reason)}),
    cowboy_stream:early_error(Id, Reason, PartialReq, {response, Status, Headers#{<<"x-chain">> => <<"1">>}, Body}, Opts).
