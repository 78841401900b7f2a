"""Renders furniture models with Cycles; run by the interpreter of the Blender environment, never imported by the rest.

Usage: ``python blender.py jobs.json``. The file holds a list of jobs (see `Job`); pictures that exist are skipped, so
an interrupted rendering goes on where it stopped. Everything here needs only ``bpy`` and the standard library.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy
from mathutils import Matrix, Vector

LENS_HALF_ANGLE = math.radians(17.0)  # a short telephoto: little distortion, the look of a product photograph


@dataclass(frozen=True)
class Job:
    """One picture to render."""

    out: str  # path of the PNG
    model: str  # path of the OBJ
    rotation: list[float]  # 3x3 row-major correction of the model's axes (catalogue's modelRotation), Y up
    azimuth: float  # degrees around the vertical axis; 0 looks at the model's front
    elevation: float  # degrees above the horizon
    fill: float  # part of the frame that the object's larger extent takes, 0..1
    size: int  # pixels a side
    samples: int  # Cycles samples a pixel
    sun: list[float]  # azimuth and elevation in degrees, strength in W/m2
    ambient: list[float]  # RGB of the surrounding light
    shift: list[float] = field(default_factory=lambda: [0.0, 0.0])  # object centre off the picture's, in frame halves
    floor: dict[str, Any] | None = None  # {"kind", "a", "b", "scale"}; None: transparent film, no floor
    wall: dict[str, Any] | None = None  # as floor; a wall behind the object


def reset_scene() -> None:
    """Empties Blender and sets up Cycles on the CPU."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.cycles.device = "CPU"
    scene.cycles.use_denoising = True
    scene.cycles.max_bounces = 4
    scene.cycles.transparent_max_bounces = 8
    scene.render.threads_mode = "FIXED"
    scene.render.threads = int(os.environ.get("TOY_RENDER_THREADS", "2"))
    scene.render.image_settings.file_format = "PNG"
    scene.view_settings.view_transform = "Standard"
    scene.render.use_persistent_data = True


def load_model(path: str, rotation: list[float]) -> list[Any]:
    """Imports an OBJ standing on z = 0, centred on the origin, largest extent 1; returns its mesh objects."""
    bpy.ops.wm.obj_import(filepath=path, forward_axis="NEGATIVE_Z", up_axis="Y")
    meshes = [item for item in bpy.context.scene.objects if item.type == "MESH"]
    y_up_to_z_up = Matrix(((1, 0, 0), (0, 0, -1), (0, 1, 0)))
    turn = Matrix([rotation[0:3], rotation[3:6], rotation[6:9]])
    correction = (y_up_to_z_up @ turn @ y_up_to_z_up.inverted()).to_4x4()
    for item in meshes:
        item.matrix_world = correction @ item.matrix_world
    bpy.context.view_layer.update()
    points = sample_points(meshes)
    low = Vector([min(point[axis] for point in points) for axis in range(3)])
    high = Vector([max(point[axis] for point in points) for axis in range(3)])
    scale = 1.0 / max(high - low)
    middle = Vector(((low.x + high.x) / 2, (low.y + high.y) / 2, low.z))
    place = Matrix.Scale(scale, 4) @ Matrix.Translation(-middle)
    for item in meshes:
        item.matrix_world = place @ item.matrix_world
    bpy.context.view_layer.update()
    for material in bpy.data.materials:
        soften(material)
    return meshes


def soften(material: Any) -> None:
    """Mends what the catalogue's materials mean elsewhere: plain colours are sRGB, mirrors would render black."""
    if not material.use_nodes:
        return
    for node in material.node_tree.nodes:
        if node.type == "BSDF_PRINCIPLED":
            node.inputs["Roughness"].default_value = max(node.inputs["Roughness"].default_value, 0.4)
            node.inputs["Metallic"].default_value = min(node.inputs["Metallic"].default_value, 0.2)
            colour = node.inputs["Base Color"]
            if not colour.is_linked:
                colour.default_value = (*(value**2.2 for value in colour.default_value[:3]), 1.0)


def sample_points(meshes: list[Any], most: int = 4000) -> list[Vector]:
    """World-space vertices of `meshes`, thinned to about `most`."""
    total = sum(len(item.data.vertices) for item in meshes)
    step = max(1, total // most)
    points = []
    for item in meshes:
        points += [item.matrix_world @ vertex.co for vertex in list(item.data.vertices)[::step]]
    return points


def view_axes(azimuth: float, elevation: float) -> tuple[Vector, Vector, Vector]:
    """Right, up and towards-the-camera directions for a view."""
    turn, rise = math.radians(azimuth), math.radians(elevation)
    towards = Vector((math.sin(turn) * math.cos(rise), -math.cos(turn) * math.cos(rise), math.sin(rise)))
    right = Vector((math.cos(turn), math.sin(turn), 0.0))
    return right, towards.cross(right), towards


def frame_camera(points: list[Vector], job: Job) -> None:
    """Puts the camera where the object's larger extent takes `fill` of the frame, centred at `shift`."""
    right, up, towards = view_axes(job.azimuth, job.elevation)
    target, distance, tangent = Vector((0.0, 0.0, 0.4)), 4.0, math.tan(LENS_HALF_ANGLE)
    for _ in range(12):  # a fixed point: perspective makes centre and extent depend on the distance
        seen = []
        for point in points:
            offset = point - target
            depth = max(distance - offset.dot(towards), 0.05) * tangent
            seen.append((offset.dot(right) / depth, offset.dot(up) / depth))
        low_x, high_x = min(x for x, _ in seen), max(x for x, _ in seen)
        low_y, high_y = min(y for _, y in seen), max(y for _, y in seen)
        extent = max(high_x - low_x, high_y - low_y) / 2
        unit = distance * tangent
        target = target + right * ((low_x + high_x) / 2 - job.shift[0]) * unit
        target = target + up * ((low_y + high_y) / 2 - job.shift[1]) * unit
        distance *= extent / job.fill
    camera = bpy.data.cameras.new("camera")
    camera.angle = 2 * LENS_HALF_ANGLE
    camera.clip_end = 1000
    item = bpy.data.objects.new("camera", camera)
    item.matrix_world = (
        Matrix.Translation(target + towards * distance) @ Matrix((right, up, towards)).transposed().to_4x4()
    )
    bpy.context.scene.collection.objects.link(item)
    bpy.context.scene.camera = item


def add_light(job: Job) -> None:
    """Adds the sun (placed relative to the camera) and the even light of the surroundings."""
    azimuth, elevation, strength = job.sun
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle = strength, math.radians(12)
    item = bpy.data.objects.new("sun", sun)
    right, up, towards = view_axes(job.azimuth + azimuth, elevation)
    item.matrix_world = Matrix((right, up, towards)).transposed().to_4x4()
    bpy.context.scene.collection.objects.link(item)
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (*job.ambient, 1.0)


def surface(spec: dict[str, Any]) -> Any:
    """A matte material: plain, checker, brick, wood, marble, or speckle (carpet, sand, grass) in colours a and b."""
    material = bpy.data.materials.new(spec["kind"])
    material.use_nodes = True
    tree = material.node_tree
    principled = tree.nodes["Principled BSDF"]
    principled.inputs["Roughness"].default_value = 0.7
    first, second, scale = (*spec["a"], 1.0), (*spec["b"], 1.0), spec.get("scale", 4.0)
    if spec["kind"] == "plain":
        principled.inputs["Base Color"].default_value = first
        return material
    place = tree.nodes.new("ShaderNodeTexCoord")
    if spec["kind"] == "checker":
        texture = tree.nodes.new("ShaderNodeTexChecker")
        texture.inputs["Color1"].default_value, texture.inputs["Color2"].default_value = first, second
        texture.inputs["Scale"].default_value = scale
        colour = texture.outputs["Color"]
    elif spec["kind"] in ("brick", "planks"):
        texture = tree.nodes.new("ShaderNodeTexBrick")
        texture.inputs["Color1"].default_value = first
        texture.inputs["Color2"].default_value = (*(0.8 * value for value in first[:3]), 1.0)
        texture.inputs["Mortar"].default_value = second
        texture.inputs["Scale"].default_value = scale
        if spec["kind"] == "planks":
            texture.inputs["Brick Width"].default_value, texture.inputs["Mortar Size"].default_value = 3.0, 0.006
        colour = texture.outputs["Color"]
    else:
        noise = tree.nodes.new("ShaderNodeTexNoise")
        noise.inputs["Scale"].default_value = scale
        noise.inputs["Detail"].default_value = 6.0
        noise.inputs["Distortion"].default_value = {"marble": 2.5, "wood": 0.6}.get(spec["kind"], 0.0)
        if spec["kind"] == "wood":
            stretch = tree.nodes.new("ShaderNodeMapping")
            stretch.inputs["Scale"].default_value = (0.15, 1.6, 1.0)
            tree.links.new(place.outputs["Object"], stretch.inputs["Vector"])
            tree.links.new(stretch.outputs["Vector"], noise.inputs["Vector"])
        ramp = tree.nodes.new("ShaderNodeValToRGB")
        ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.35, 0.65
        ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = first, second
        tree.links.new(noise.outputs["Fac"], ramp.inputs["Fac"])
        texture, colour = noise, ramp.outputs["Color"]
    if not texture.inputs["Vector"].is_linked:
        tree.links.new(place.outputs["Object"], texture.inputs["Vector"])
    tree.links.new(colour, principled.inputs["Base Color"])
    return material


def add_plane(spec: dict[str, Any], matrix: Matrix) -> None:
    """Adds a large square of a surface at `matrix`."""
    mesh = bpy.data.meshes.new("plane")
    half = 30.0
    mesh.from_pydata([(-half, -half, 0), (half, -half, 0), (half, half, 0), (-half, half, 0)], [], [(0, 1, 2, 3)])
    mesh.materials.append(surface(spec))
    item = bpy.data.objects.new("plane", mesh)
    item.matrix_world = matrix
    bpy.context.scene.collection.objects.link(item)


def add_surroundings(job: Job) -> None:
    """Adds floor and wall, or asks for a transparent film."""
    scene = bpy.context.scene
    scene.render.film_transparent = job.floor is None
    scene.render.image_settings.color_mode = "RGBA" if job.floor is None else "RGB"
    if job.floor is not None:
        add_plane(job.floor, Matrix.Translation((0, 0, -0.001)) @ Matrix.Rotation(math.radians(17), 4, "Z"))
    if job.wall is not None:
        turn = Matrix.Rotation(math.radians(job.azimuth + job.wall.get("turn", 0.0)), 4, "Z")
        behind = Matrix.Translation((0, job.wall.get("distance", 1.5), 0)) @ Matrix.Rotation(math.radians(90), 4, "X")
        add_plane(job.wall, turn @ behind)


def render(job: Job) -> None:
    """Renders one job; the file appears only when it is whole."""
    reset_scene()
    meshes = load_model(job.model, job.rotation)
    frame_camera(sample_points(meshes), job)
    add_light(job)
    add_surroundings(job)
    scene = bpy.context.scene
    scene.cycles.samples = job.samples
    scene.render.resolution_x = scene.render.resolution_y = job.size
    part = f"{job.out}.part.png"
    scene.render.filepath = part
    bpy.ops.render.render(write_still=True)
    Path(part).replace(job.out)


def main() -> None:
    """Renders the jobs of the file named on the command line."""
    jobs = [Job(**item) for item in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))]
    waiting = [job for job in jobs if not Path(job.out).exists()]
    started = time.monotonic()
    for index, job in enumerate(waiting):
        Path(job.out).parent.mkdir(parents=True, exist_ok=True)
        render(job)
        elapsed = time.monotonic() - started
        print(f"RENDER {index + 1}/{len(waiting)} {elapsed:.0f}s {job.out}", flush=True)


if __name__ == "__main__":
    main()
