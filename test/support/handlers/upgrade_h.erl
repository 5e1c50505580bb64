%% A sub-protocol of one's own that calls cowboy_websocket:upgrade itself, as frameworks do.
-module(upgrade_h).
-behaviour(cowboy_sub_protocol).

-export([init/2, upgrade/4, upgrade/5]).

init(Req, State) ->
    {?MODULE, Req, State, #{idle_timeout => 5000}}.

upgrade(Req, Env, Handler, State) ->
    upgrade(Req, Env, Handler, State, #{}).

upgrade(Req, Env, _, State, Opts) ->
    %% Cowboy looks for callbacks of modules that are loaded.
    {module, _} = code:ensure_loaded(ws_script_h),
    cowboy_websocket:upgrade(Req, Env, ws_script_h, State, Opts).
