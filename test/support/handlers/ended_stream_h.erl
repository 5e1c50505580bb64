%% A user's stream handler that notes how the first stream of a connection ends: the class and the reason, without the text for people.
-module(ended_stream_h).
-behaviour(cowboy_stream).

-export([init/3, data/4, info/3, terminate/3, early_error/5]).

init(Id, Req, #{env := #{probe := Probe}} = Opts) ->
    next({Probe, none}, cowboy_stream:init(Id, Req, Opts)).

data(Id, IsFin, Data, {_, Next} = State) ->
    next(State, cowboy_stream:data(Id, IsFin, Data, Next)).

info(Id, Info, {_, Next} = State) ->
    next(State, cowboy_stream:info(Id, Info, Next)).

terminate(Id, Reason, {Probe, Next}) ->
    Id =:= 1 andalso probe:note(Probe, {ended, case Reason of {Class, Why, _} -> {Class, Why}; Why -> Why end}),
    cowboy_stream:terminate(Id, Reason, Next).

early_error(Id, Reason, PartialReq, Response, Opts) ->
    cowboy_stream:early_error(Id, Reason, PartialReq, Response, Opts).

next({Probe, _}, {Commands, Next}) ->
    {Commands, {Probe, Next}}.
