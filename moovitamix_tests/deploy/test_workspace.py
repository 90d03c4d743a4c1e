"""Both workspace files, read by Dagster's own parser."""

from pathlib import Path

from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
)
from dagster._core.workspace.load import location_origins_from_yaml_paths
from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget


def test_the_workspace_of_a_checkout_loads_the_module_itself(root: Path) -> None:
    (origin,) = location_origins_from_yaml_paths([str(root / "workspace.yaml")])

    assert isinstance(origin, ManagedGrpcPythonEnvCodeLocationOrigin)
    assert origin.loadable_target_origin.module_name == "moovitamix.definitions"
    assert origin.location_name == "moovitamix"


def test_the_workspace_of_a_checkout_loads_what_a_module_named_on_the_command_line_does(
    root: Path,
) -> None:
    """Only its name is a short one; a folder that is not named is that of the command, too."""
    (by_file,) = WorkspaceFileTarget([str(root / "workspace.yaml")]).create_origins()
    (by_module,) = ModuleTarget(
        module_name="moovitamix.definitions",
        attribute=None,
        working_directory=None,
        location_name=None,
    ).create_origins()

    assert isinstance(by_file, ManagedGrpcPythonEnvCodeLocationOrigin)
    assert isinstance(by_module, ManagedGrpcPythonEnvCodeLocationOrigin)
    assert by_file.loadable_target_origin == by_module.loadable_target_origin


def test_the_workspace_of_a_deployment_asks_the_code_location_over_grpc(root: Path) -> None:
    (origin,) = location_origins_from_yaml_paths([str(root / "deploy" / "workspace.yaml")])

    assert isinstance(origin, GrpcServerCodeLocationOrigin)
    assert origin.host == "code-location"


def test_a_location_has_one_name_so_that_its_history_is_found_everywhere(root: Path) -> None:
    paths = [root / "workspace.yaml", root / "deploy" / "workspace.yaml"]
    names = {
        origin.location_name
        for path in paths
        for origin in location_origins_from_yaml_paths([str(path)])
    }

    assert names == {"moovitamix"}
